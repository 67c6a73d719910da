DEPS_obs := base
PKGS_obs :=
