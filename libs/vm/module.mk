# The C files are an ordinary library; the C++ files go into the add-on, see build.mk.
DEPS_vm := base obs value
PKGS_vm := libseccomp
