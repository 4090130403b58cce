"""The index of aliases: a trie in a file that is mapped and read only where a lookup goes."""
