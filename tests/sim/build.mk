# The simulator: the services' own objects, with what stands for kernel, network, disk, Raft and V8
# from here. Objects come before archives, so a member that this folder replaces is never taken.
SIM_SERVICES := storage sequencer worker gateway
SIM_LIBS := jwt store follow workers nodes feed txn occ mvcc replog wire proto env value conf obs base
SIM_INC := -Itests/sim -Itests/checkers -I$(GEN)/proto $(foreach m,$(SIM_SERVICES) $(SIM_LIBS) kv rt http nats,$(call inc_of,$(m))) \
  -Iservices/worker -Iservices/storage -Ilibs/replog $(shell pkg-config --cflags raft libuv)
CHECK_OBJ := $(patsubst %.c,$(OUT)/%.o,$(filter-out %/main.c,$(wildcard tests/checkers/*.c)))
SIM_OBJ := $(patsubst %.c,$(OUT)/%.o,$(wildcard tests/sim/*.c))
$(OUT)/tests/sim/%.o: tests/sim/%.c | $(PROTO_H)
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS_ALL) $(WARNINGS) $(SIM_INC) -MMD -MP -c $< -o $@
$(OUT)/tests/checkers/%.o: tests/checkers/%.c | $(PROTO_H)
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS_ALL) $(WARNINGS) $(SIM_INC) -MMD -MP -c $< -o $@
$(OUT)/test/sim: $(SIM_OBJ) $(CHECK_OBJ) $(call link_libs,$(SIM_SERVICES) $(SIM_LIBS))
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -Wl,--wrap=_exit,--wrap=nanosleep -o $@ $(SIM_OBJ) $(CHECK_OBJ) -Wl,--start-group $(call link_libs,$(SIM_SERVICES) $(SIM_LIBS)) -Wl,--end-group $(shell pkg-config --libs libprotobuf-c jansson libcrypto) -l:libraft.a -lnng -lpthread -lm
$(OUT)/test/check: $(OUT)/tests/checkers/main.o $(CHECK_OBJ) $(call link_libs,env value base)
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $(OUT)/tests/checkers/main.o $(CHECK_OBJ) -Wl,--start-group $(call link_libs,env value base) -Wl,--end-group $(shell pkg-config --libs jansson) -lpthread -lm
# The scheduler's decisions in a world of their own.
$(OUT)/tests/sim/jobs/%.o: tests/sim/jobs/%.c | $(PROTO_H)
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS_ALL) $(WARNINGS) $(SIM_INC) -Iservices/scheduler -MMD -MP -c $< -o $@
$(OUT)/test/sim_jobs: $(OUT)/tests/sim/jobs/main.o $(CHECK_OBJ) $(call link_libs,scheduler env value base)
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $(OUT)/tests/sim/jobs/main.o $(CHECK_OBJ) $(patsubst %,$(OUT)/services/scheduler/%.o,core timers lease) -Wl,--start-group $(call link_libs,env value base) -Wl,--end-group $(shell pkg-config --libs jansson) -lpthread -lm
.PHONY: sim-programs
sim-programs: $(OUT)/test/sim $(OUT)/test/sim_jobs $(OUT)/test/check
