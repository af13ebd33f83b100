"""What is true: numbers computed with torch, never anything about how they look.

Glossary of axis names, used in the jaxtyping annotations of this package
(``Float[Tensor, "step position"]``):

========== ==================================================================
batch      the samples that go through a model together, axis 0
channel    feature maps; axis 1 of a convolution's input and output
height     rows of an image, counted from the top
width      columns of an image, counted from the left
axis       one entry per axis of positions (height, width, ... or time)
layer      the modules of a network in execution order
position   one call of one module: (module, call index)
step       one optimizer step of a training run, counted from 0
unit       one number of a layer's output
sample     one item of a data set or one draw of a random variable
latent     one coordinate of a latent code
epoch      one pass over the training data
========== ==================================================================
"""
