# repave: one Makefile, out-of-tree objects under build/<flavour>/.
#   make            the tools            make check     everything that must pass, quick
#   make demo       the main job         make bench     paired measurements, long
# Knobs: CC=clang  SAN=address,undefined  WERROR=0  OPT=-O0  B=DIR  T=live/redzone (one test)
.DEFAULT_GOAL := all
MAKEFLAGS += --no-builtin-rules
CC       := $(if $(filter default undefined,$(origin CC)),gcc,$(CC))
AR       ?= ar
OPT      ?= -O2
WERROR   ?= 1
SAN      ?=
FLAVOUR  := $(notdir $(firstword $(CC)))$(if $(SAN),-san)
B        ?= build/$(FLAVOUR)
PREFIX   ?= /usr/local
DESTDIR  ?=

WARN     := -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes \
            -Wwrite-strings -Wvla -Wformat=2 -Wundef $(if $(filter 1,$(WERROR)),-Werror)
CPPFLAGS := -I. -D_GNU_SOURCE
CFLAGS   := -std=gnu11 -g $(OPT) -fno-omit-frame-pointer -fno-strict-aliasing -pthread $(WARN) \
            $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all)
LDFLAGS  := -pthread $(if $(SAN),-fsanitize=$(SAN))

# Third parties are fenced: each library is linked only by the tools listed here (tests/layers.sh checks includes).
LIBS_formats := -llz4 -lxxhash -ljansson
LIBS_analyze := -lelf -ldwarf -lZydis -lcapstone
LIBS_profile := -lpfm -lzstd -lZydis
LIBS_apply   :=
LIBS_dump    :=

TOOLS := analyze profile apply dump
lib_sources  = $(filter-out %/main.c,$(wildcard $(1)/*.c $(1)/*/*.c))
asm_sources  = $(wildcard $(1)/*.S $(1)/*/*.S)
objects      = $(patsubst %,$(B)/%.o,$(1))

FORMATS_LIB := $(B)/libformats.a
BINARIES    := $(TOOLS:%=$(B)/repave-%)

all: $(BINARIES)

$(B)/%.c.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@
$(B)/%.S.o: %.S
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(FORMATS_LIB): $(call objects,$(call lib_sources,formats))
	@rm -f $@
	$(AR) rcs $@ $^

define tool_rules
$(B)/lib$(1).a: $(call objects,$(call lib_sources,$(1)) $(call asm_sources,$(1)))
	@rm -f $$@
	$(AR) rcs $$@ $$^
$(B)/repave-$(1): $(B)/$(1)/main.c.o $(B)/lib$(1).a $(FORMATS_LIB)
	$(CC) $(LDFLAGS) $$^ $(LIBS_$(1)) $(LIBS_formats) -o $$@
endef
$(foreach t,$(TOOLS),$(eval $(call tool_rules,$(t))))

# A unit test tests/unit/<tool>/test_x.c links lib<tool>.a; tests/unit/formats/test_x.c only formats.
UNIT_SOURCES := $(wildcard tests/unit/*/test_*.c)
UNIT_TESTS   := $(patsubst tests/unit/%.c,$(B)/unit/%,$(UNIT_SOURCES))
define unit_rule
$(B)/unit/$(1): $(B)/tests/unit/$(1).c.o $(if $(filter formats,$(patsubst %/,%,$(dir $(1)))),,$(B)/lib$(patsubst %/,%,$(dir $(1))).a) $(FORMATS_LIB)
	@mkdir -p $$(@D)
	$(CC) $(LDFLAGS) $$^ -lcmocka $(LIBS_$(patsubst %/,%,$(dir $(1)))) $(LIBS_formats) -o $$@
endef
$(foreach u,$(patsubst tests/unit/%.c,%,$(UNIT_SOURCES)),$(eval $(call unit_rule,$(u))))
unit-tests: $(UNIT_TESTS)

# Fuzz targets tests/fuzz/fuzz_x.c: libFuzzer with FUZZ=1 (clang), otherwise linked with tests/fuzz/replay.c, which runs corpus files.
FUZZ         ?=
FUZZ_SOURCES := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_TESTS   := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(FUZZ_SOURCES))
$(B)/fuzz/%: $(B)/tests/fuzz/%.c.o $(if $(FUZZ),,$(B)/tests/fuzz/replay.c.o) $(TOOLS:%=$(B)/lib%.a) $(FORMATS_LIB)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) $(if $(FUZZ),-fsanitize=fuzzer) $^ $(foreach t,$(TOOLS),$(LIBS_$(t))) $(LIBS_formats) -o $@
fuzz-tests: $(FUZZ_TESTS)
# fuzz: each target for SECONDS_EACH seconds (make fuzz SECONDS_EACH=600 T=elf: one of them); see tests/fuzz/run
SECONDS_EACH ?= 120
fuzz:
	$(MAKE) -j2 --no-print-directory CC=clang SAN=fuzzer-no-link,address,undefined B=build/fuzz FUZZ=1 fuzz-tests
	tests/fuzz/run $(SECONDS_EACH) $(T)
.PHONY: fuzz

# check: everything that must pass. gcc for the tools, the unit tests and the live tests; clang for warnings; clang with ASan and UBSan for the
# unit tests and fuzz corpora. make check T=live/redzone runs the tests whose name contains that.
T ?=
check:
	scripts/setup
	$(MAKE) -j2 --no-print-directory CC=gcc all unit-tests
	$(MAKE) -j2 --no-print-directory CC=clang all
	$(MAKE) -j2 --no-print-directory CC=clang SAN=address,undefined all unit-tests fuzz-tests
	tests/run $(if $(T),-t '$(T)') build/gcc build/clang-san

SOURCES := $(foreach t,formats $(TOOLS) tests,$(shell find $(t) -name '*.[ch]'))
fmt:
	clang-format -i $(SOURCES)
fmt-check:
	clang-format --dry-run --Werror $(SOURCES)
layers:
	tests/layers.sh
tidy: compdb
	clang-tidy -quiet -p . $(filter %.c,$(filter-out tests/%,$(SOURCES)))
compdb:
	{ echo '['; for f in $(filter %.c,$(SOURCES)); do \
	  printf '%s{"directory":"%s","file":"%s","command":"$(CC) $(CPPFLAGS) -std=gnu11 -c %s"}\n' "$$c" "$(CURDIR)" "$$f" "$$f"; c=,; done; echo ']'; } > compile_commands.json

clean:
	rm -rf build compile_commands.json

.PHONY: soak all clean unit-tests fuzz-tests check fmt fmt-check layers tidy compdb
-include $(shell test -d $(B) && find $(B) -name '*.d')

# Set up, install, demonstrate, measure.
SETUP_ARGS ?=
BENCH_PROGRAMS := $(B)/bench/cpu_sampler
$(B)/bench/%: $(B)/tests/bench/%.c.o $(B)/libanalyze.a $(FORMATS_LIB)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) $^ $(LIBS_analyze) $(LIBS_formats) -o $@
setup:
	scripts/setup $(SETUP_ARGS)
demo:
	@B=$(B) scripts/demo
# soak: CYCLES (100) times apply, verify, undo on a mariadbd with THREADS (50) connections
soak: all
	tests/bench/soak
# torture: what make check samples, whole: programs on random layouts (SEEDS= of each of PROGRAMS=, see tests/torture/programs/run --help), and the tool,
# or the target, killed at every step; uprobes on all patched functions of a server. An hour or more.
torture: all
	B=$(B) tests/torture/programs/run
	tests/torture/kills --random 300 threads python mariadb
	tests/torture/probes
	DYING_STEP=1 TEST_TIMEOUT=3600 tests/run -t live/dying $(B)
bench:
	@B=$(B) tests/bench/run
install: all
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(BINARIES) scripts/repave $(DESTDIR)$(PREFIX)/bin/
.PHONY: setup demo bench torture install
