"""Files: inputs, readers, output shards, and the broker over them."""
