"""The bundled model, its SAEs and the script that trains them."""
