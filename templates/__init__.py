"""The circuit library and its technologies, shipped as package `m3eda_templates`."""
