"""The decisions taken on a document, in the order in which they are taken."""
