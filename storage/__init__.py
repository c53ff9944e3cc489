"""Files and folders wherever they lie: on this machine, in gs:// or in s3://."""
