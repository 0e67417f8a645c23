/*-------------------------------------------------------------------------
 *
 * fuzz.c
 *	  Feeds the parsers with whatever libFuzzer makes up: for the tests alone.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Runs in a single-user server, since the parsers use its memory, its errors and
 * its jsonb.  An input may be refused by an error; one with the SQLSTATE of an
 * internal error, a crash or a hang is a finding.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "model/feed_message.h"
#include "model/ip_address.h"
#include "model/key_format.h"
#include "model/key_scan.h"
#include "model/notice_list.h"
#include "model/permissions.h"
#include "model/rate_limits.h"
#include "model/window_row.h"
#include "settings/hmac_secrets.h"

#define MAX_INPUT	16384

typedef void (*Target)(char *data, size_t size);

#pragma GCC visibility push(default)
PG_FUNCTION_INFO_V1(apikeys_fuzz);
#pragma GCC visibility pop

extern int	LLVMFuzzerRunDriver(int *argc, char ***argv, int (*callback)(const uint8_t *data, size_t size));

FuzzState	apikeys_fuzz_state = {0};

static Target target;
static MemoryContext memory;
static char *end_of_buffer;		/* what follows cannot be read */

/* --------------------------------------------------------------- targets */

static void
scan(char *data, size_t size)
{
	KeyMatch	match;

	for (Size from = 0; key_scan_find(data, size, from, &match);)
	{
		if (match.end <= from || match.end > size || match.redact_from > match.redact_to || match.redact_to > size)
			elog(ERROR, "a match is out of its text");
		from = match.end;
	}
	(void) key_scan_mask(data, size);
	if (key_scan_find(data, size, 0, &match))
		elog(ERROR, "a masked text has a key");
}

static text *
as_text(const char *data, size_t size)
{
	return cstring_to_text_with_len(data, size);
}

static void
raw_key(char *data, size_t size)
{
	char	   *copy = pnstrdup(data, size);
	char	   *prefix = key_format_masked_prefix(copy);

	if (prefix != NULL && !key_format_prefix_is_valid(prefix))
		elog(ERROR, "a masked key has a prefix that no key has");
	(void) key_format_prefix_is_valid(copy);
}

static void
address(char *data, size_t size)
{
	inet_struct parsed;

	if (ip_address_from_text(as_text(data, size), &parsed))
	{
		(void) ip_address_pack(&parsed);
		(void) DirectFunctionCall1(inet_in, CStringGetDatum(ip_address_format(&parsed)));
	}
}

static Jsonb *
as_jsonb(const char *data, size_t size)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(pnstrdup(data, size))));
}

static void
permissions(char *data, size_t size)
{
	Permissions parsed;

	permissions_parse(as_jsonb(data, size), &parsed);
}

static void
rate_limits(char *data, size_t size)
{
	RateLimits *limits = rate_limits_parse(as_jsonb(data, size), CurrentMemoryContext);

	if (limits != NULL)
		(void) rate_limits_match(limits, as_text(data, Min(size, 8)), NULL);
}

static void
notices(char *data, size_t size)
{
	NoticeList	list;

	(void) notice_list_parse(pnstrdup(data, size), &list);
}

static void
write_whole(int fd, const char *data, size_t size)
{
	if (ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != (ssize_t) size)
		elog(ERROR, "could not write the input");
}

static void
secrets(char *data, size_t size)
{
	static int	fd = -1;

	if (fd < 0)
	{
		fd = memfd_create("secrets", 0);
		if (fd < 0 || fchmod(fd, 0600) != 0)
			elog(FATAL, "could not make a file in memory");
	}
	write_whole(fd, data, size);
	if (hmac_secrets_stage(psprintf("/proc/self/fd/%d", fd)) == NULL)
		hmac_secrets_adopt();
}

/* As after a clean shutdown, with a checkpoint that complete_state() knows. */
ControlFileData *
apikeys_fuzz_control(bool *crc_ok)
{
	ControlFileData *control = palloc0(sizeof(ControlFileData));

	*crc_ok = true;
	control->state = DB_SHUTDOWNED;
	control->checkPoint = 1;
	return control;
}

/* Sets what nobody guesses: the cluster, how many records there are, the checkpoint, the checksum. */
static void
complete_state(char *data, size_t size, bool is_current)
{
	const FuzzState *layout = &apikeys_fuzz_state;
	uint64		system = GetSystemIdentifier();
	uint64		nrecords = (size - layout->header_size - sizeof(pg_crc32c)) / layout->record_size;
	XLogRecPtr	checkpoint = 1;
	pg_crc32c	crc;

	memcpy(data + layout->system_at, &system, sizeof(system));
	memcpy(data + layout->nrecords_at, &nrecords, sizeof(nrecords));
	if (is_current)
		memcpy(data + layout->checkpoint_at, &checkpoint, sizeof(checkpoint));
	INIT_CRC32C(crc);
	COMP_CRC32C(crc, data, size - sizeof(crc));
	FIN_CRC32C(crc);
	memcpy(data + size - sizeof(crc), &crc, sizeof(crc));
}

/* The last byte says how much is right by itself. */
static void
state(char *data, size_t size)
{
	static int	fd = -1;

	if (fd < 0)
		fd = open("pg_stat/apikeys.stat", O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || apikeys_fuzz_state.start == NULL)
		elog(FATAL, "could not make the file");
	if (size > apikeys_fuzz_state.header_size + sizeof(pg_crc32c) && data[size - 1] != 0)
		complete_state(data, size, data[size - 1] > 0);
	write_whole(fd, data, size);
	apikeys_fuzz_state.start();
}

/* What is read is written as it was. */
static void
feed_request(char *data, size_t size)
{
	static FeedItem items[FEED_BATCH];
	FeedRequest *request = palloc0(sizeof(FeedRequest));
	StringInfoData buffer = {.data = data, .len = size, .maxlen = size};
	StringInfoData written;

	request->items = items;
	if (!feed_request_read(&buffer, request))
		return;
	initStringInfo(&written);
	feed_request_write(&written, request);
	if (written.len != size)
		elog(ERROR, "a request of %zu bytes is written in %d", size, written.len);
}

static void
feed_answer(char *data, size_t size)
{
	static FeedItem items[FEED_BATCH];
	FeedAnswer	answer = {.items = items};
	StringInfoData buffer = {.data = data, .len = size, .maxlen = size};

	(void) feed_answer_read(&buffer, &answer);
}

static void
windows(char *data, size_t size)
{
	int			n = size / sizeof(int64);
	int64	   *numbers = palloc(n * sizeof(int64) + 1);
	Datum	   *elements = palloc(n * sizeof(Datum) + 1);
	int64		again[WINDOW_ROW_MAX * WINDOW_ROW_NUMBERS];
	WindowRow	row;

	memcpy(numbers, data, n * sizeof(int64));
	for (int i = 0; i < n; i++)
		elements[i] = Int64GetDatum(numbers[i]);
	if (!window_row_decode(construct_array(elements, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE), &row))
		return;
	(void) window_row_ends_at(&row, 0);
	if (window_row_encode(&row, again) != n || memcmp(again, numbers, n * sizeof(int64)) != 0)
		elog(ERROR, "windows are stored in another form than they were read");
}

static const struct
{
	const char *name;
	Target		target;
} targets[] = {
	{"raw_key", raw_key}, {"scan", scan}, {"address", address}, {"permissions", permissions}, {"rate_limits", rate_limits}, {"notices", notices}, {"secrets", secrets}, {"state", state}, {"feed_request", feed_request}, {"feed_answer", feed_answer}, {"windows", windows}};

/* ------------------------------------------------------------- the driver */

/* One input, which ends where memory ends. */
static int
one_input(const uint8_t *data, size_t size)
{
	MemoryContext before = CurrentMemoryContext;
	char	   *copy;

	if (size > MAX_INPUT)
		return 0;
	copy = memcpy(end_of_buffer - size, data, size);
	PG_TRY();
	{
		MemoryContextSwitchTo(memory);
		target(copy, size);
	}
	PG_CATCH();
	{
		if (geterrcode() == ERRCODE_INTERNAL_ERROR)
		{
			EmitErrorReport();
			abort();
		}
		FlushErrorState();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(before);
	MemoryContextReset(memory);
	return 0;
}

static void
make_buffer(void)
{
	char	   *pages = mmap(NULL, MAX_INPUT + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages == MAP_FAILED || mprotect(pages + MAX_INPUT, 4096, PROT_NONE) != 0)
		elog(FATAL, "could not make the buffer");
	end_of_buffer = pages + MAX_INPUT;
}

/* apikeys_fuzz(target, arguments of libFuzzer...): does not return. */
Datum
apikeys_fuzz(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *options = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *words[32] = {"fuzz"};
	char	  **argv = words;
	int			argc = 1;

	for (char *word = strtok(options, " "); word != NULL && argc < 31; word = strtok(NULL, " "))
		words[argc++] = word;
	for (int i = 0; i < lengthof(targets); i++)
	{
		if (strcmp(targets[i].name, name) == 0)
			target = targets[i].target;
	}
	if (target == NULL)
		elog(ERROR, "there is no target %s", name);

	memory = AllocSetContextCreate(TopMemoryContext, "fuzz", ALLOCSET_DEFAULT_SIZES);
	make_buffer();
	LLVMFuzzerRunDriver(&argc, &argv, one_input);
	PG_RETURN_VOID();
}
