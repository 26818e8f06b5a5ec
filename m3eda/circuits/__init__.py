"""The circuit library: proven circuits as templates for users and as tasks for learning."""
