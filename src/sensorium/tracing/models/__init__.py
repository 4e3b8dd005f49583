"""One file per tracer, classical and neural; `ukt/` beside this folder holds the tracer with Gaussian states."""
