"""History on its way between stores and files: cut into chunks, journalled, resumable, comparable."""
