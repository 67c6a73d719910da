DEPS_worker := base obs conf env value rt proto wire nodes mvcc
PKGS_worker := libuv libprotobuf-c
LIBS_worker :=
# The program inside a slot: for the add-on and the fuzz target of its host interface (libs/vm/build.mk).
DEPS_slot := base env obs value txn vm proto
