"""Task heads: fitted once, in closed form, on the features of the dense backbone, then frozen."""
