"""Raw content to arrays, in processes of their own: no module of this folder imports torch."""
