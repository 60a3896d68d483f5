"""The sample resource. To remove it: delete this folder, its tests, its migration and its line in `app/main.py`."""
