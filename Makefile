# apikeys: API keys inside PostgreSQL
#
#   make && make install    build and install; PG_CONFIG= chooses the server
#   make demo               the life of a key on a throw-away cluster
#   make test               every test, from scratch, on throw-away clusters
#   make check TEST=limits  one of them, at once: also t/301_windows, specs/nowait,
#                           't/4*'; without TEST all.  Clusters stay up for the
#                           next time; make check-stop removes them
#   make lint, make format  check the sources, put them in shape
#   make reference          write the tables of doc/reference.md from the catalogs
#   make pictures           makes the pictures of the pages anew
#   make bench              what a verify costs, beside what one could do instead
#   make proof              tries what is promised, in all its parts; make proof-history one
#   make compile_commands.json      how each file is compiled, for clangd
#   make dist               the zip for PGXN, of what is committed
#   make release            dates the version that is to be released, and keeps its scripts
#                           (make freeze); CONTRIBUTING.md says what is to be done before
#   make packages           builds it and the packages, and tries them
#
# The version stands in apikeys.control alone.

EXTENSION = apikeys
MODULE_big = apikeys
OBJS = $(patsubst $(srcdir)/%.c,%.o,$(wildcard $(srcdir)/src/*.c $(srcdir)/src/*/*.c))
DATA_built = apikeys--$(version).sql
# Of versions that are released: how they were installed, and how to update them.
DATA = $(filter-out %/$(DATA_built),$(wildcard $(srcdir)/sql/released/*.sql))
PG_CPPFLAGS = -I$(srcdir)/src -I$(libpq_srcdir) -MMD -MP
PG_CFLAGS = -fvisibility=hidden $(same_paths)
SHLIB_LINK = -lcrypto $(libpq)
# The same library wherever it is built.
same_paths = -ffile-prefix-map=$(srcdir)/= -ffile-prefix-map=$(abspath $(srcdir))/= \
	-ffile-prefix-map=$(CURDIR)=.
EXTRA_CLEAN = $(OBJS:.o=.d) compile_commands.json
version = $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" $(srcdir)/apikeys.control)
REGRESS = $(shell sed -n 's/^test: *//p' $(srcdir)/sql/schedule)
# On a server of any encoding and locale, and whatever PGOPTIONS says.
ENCODING = UTF8
NO_LOCALE = 1
installcheck: export PGOPTIONS =

# Libraries are loaded into one name space: any other library that exports a
# function named as one of ours would take its place.  So ours are hidden, all
# but what the server looks up (base/compat.h), and there is no bitcode: code
# inlined by JIT would look for our functions by their names.
override with_llvm = no

# Each object has its own .d file, where PGXS has one for each base name.
override autodepend = no

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)

# make demo brings the server, so this file must parse where there is none.
ifneq ($(wildcard $(PGXS)),)
include $(PGXS)
ifeq ($(wildcard $(srcdir)/src/*/*.c),)
$(error there are no sources in $(srcdir)/src)
endif

# A build outside the sources takes only sources from there: VPATH would take
# objects and the library as well, if they had been built there.
srcdir := $(patsubst %/,%,$(srcdir))
override VPATH =
vpath %.c $(srcdir)
vpath %.control $(srcdir)

# The parts of the install script, joined; the folder, for a part that goes.
$(DATA_built): $(sort $(wildcard $(srcdir)/sql/install/*.sql)) $(srcdir)/sql/install
	cat $(filter %.sql,$^) >$@

# PGXS makes no folders for objects.
folders = $(sort $(dir $(OBJS)))
$(OBJS): | $(folders)
$(folders):
	@mkdir -p $@

-include $(OBJS:.o=.d)

# For clangd and other tools that want to know how a file is compiled.
quoted = $(subst ",\",$(subst \,\\,$(1)))
compile_commands.json:
	@start='['; for file in $(OBJS:.o=); do \
		printf '%s\n{"directory": "%s", "file": "%s", "command": "%s"}' "$$start" \
			'$(CURDIR)' "$(abspath $(srcdir))/$$file.c" \
			'$(call quoted,$(COMPILE.c))'" -o $$file.o $(abspath $(srcdir))/$$file.c"; \
		start=,; \
	done >$@; echo ']' >>$@
else
all install uninstall installcheck clean compile_commands.json:
	@echo "$@: the build files of PostgreSQL (PGXS) were not found with $(PG_CONFIG)." >&2
	@echo "Install postgresql-server-dev-NN (Debian) or postgresqlNN-devel (RPM)," >&2
	@echo "or name the server: make $@ PG_CONFIG=/path/to/pg_config" >&2
	@exit 1
endif

demo:
	@test/demo

test:
	@test/run

# PGXS has a check of its own, which only says that it is not supported.
check: private SHELL = true
check: run-check

run-check:
	@test/run check

check-stop:
	@test/run stop

lint:
	@test/lint/run

bench:
	@test/bench/run

pictures:
	@test/pictures/run

dist:
	git archive --format=zip --prefix=apikeys-$(version)/ --output=apikeys-$(version).zip HEAD

freeze:
	@test/lint/released freeze

release:
	@test/lint/released release

packages:
	@test/packages

proof:
	@test/proof/run

proof-%:
	@test/proof/run $*

reference:
	@test/reference/run

format:
	@test/lint/run format

.PHONY: all install uninstall installcheck clean demo test check run-check check-stop
.PHONY: lint bench pictures reference proof dist freeze release packages format compile_commands.json
