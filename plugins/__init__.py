"""The built-in plugins, shipped as package `m3eda_plugins`; each enters by the public door."""
