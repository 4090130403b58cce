"""The index of aliases: a trie that is searched in the file's bytes, where it lies."""
