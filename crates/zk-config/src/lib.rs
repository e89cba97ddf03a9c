//! zoo.cfg, dynamic file and environment to one checked Config
