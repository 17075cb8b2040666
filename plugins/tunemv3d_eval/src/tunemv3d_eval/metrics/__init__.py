"""The metrics of this distribution, one module each: a function of tensors, and the component around it."""
