"""Language models: how they are loaded and how their blocks are run one by one."""
