"""Files that other programs read: clouds as PLY, textured meshes as GLB or OBJ.

Every file is written whole or not at all. What is read was written by others: damage ends with a sentence.
"""
