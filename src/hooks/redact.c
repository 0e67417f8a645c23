/*-------------------------------------------------------------------------
 *
 * redact.c
 *	  Masks raw keys in the log and in pg_stat_activity.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The log.  emit_log_hook is called with each message about to be logged, in
 * every process that has loaded the library, the postmaster included, perhaps
 * out of memory, during exit, or in a critical section.  So keys are masked in
 * place, with an asterisk per character: that allocates nothing, cannot fail,
 * takes no lock, reads no catalog and raises no message that would call the
 * hook again; and positions in the text stay right.  It takes time linear in
 * the length of the message: see key_scan.c.
 *
 * The server allows the hook no change of an ErrorData but to turn its output
 * off.  Ours is safe on 15, 17 and 18, because it only overwrites bytes of
 * strings that the ErrorData owns: errmsg() and its like, set_backtrace(),
 * ThrowErrorData() and ReThrowError() allocate each of them in its memory
 * context, errfinish() frees it, and nothing reads it but the log and the
 * client's copy.  (message_id, which may be a constant, is not touched.)  So
 * the client reads the masked text as well, which is intended: many
 * applications log their errors.  A message that is not logged reaches the
 * client unchanged.
 *
 * The statement is read from debug_query_string when the message is written.
 * That text may belong to any caller, or be a constant, so it must not be
 * changed; it is replaced with a masked copy.  The copy lives in
 * MessageContext, as the text of a query does: until the next message from
 * the client, before which the server resets debug_query_string
 * (PostgresMain, also after an error).  Code that has measured the text and
 * then copies it, as parallel CREATE INDEX and VACUUM do, finds its length
 * unchanged.  There is at most one copy per message from the client.  Where
 * none can be made (no memory, a critical section, a process without
 * clients), hide_stmt omits the statement.
 *
 * Fragments.  The server cuts keys: its scanner takes gw-7Ab... without
 * quotes for gw minus a number with trailing junk, names are folded to lower
 * case, contexts are truncated.  No checksum finds these, but the statement
 * has the whole key.  So the redacted parts of the first few keys of the
 * statement, and of the message itself, which has the text of dynamic SQL,
 * are searched for in the message as well, if that is short.  Those of the
 * statement are remembered while its masked copy is in place; if that were
 * too long, the worst case is that a fragment of another statement's key is
 * masked.
 *
 * pg_stat_activity, from which the postmaster also takes "Failed process was
 * running".  Only the backend itself writes its entry, so keys are masked in
 * place there as well, under the protocol of backend_status.h.  The entry may
 * end in the middle of a key, so the complete text is searched.  This happens
 * as soon as we see a text: after parse analysis; before a utility statement
 * or a plan runs, since the extended protocol reports the text again; and
 * when a message is logged, which covers syntax errors.
 *
 * Other libraries.  Hooks that are called after ours get a masked text of what
 * is analyzed and of utility statements, which pg_stat_statements stores as it
 * is.  The parse tree has been made from the original.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "miscadmin.h"
#include "parser/analyze.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/backend_status.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "hooks/redact.h"
#include "model/key_format.h"
#include "model/key_scan.h"
#include "settings/guc.h"

/*
 * For how many keys of a statement, and in how long texts, fragments are
 * masked.
 */
#define MAX_KNOWN_KEYS	8
#define FRAGMENTS_MAX_TEXT	8192

/* The redacted parts of the keys of the statement. */
static char known[MAX_KNOWN_KEYS][KEY_REDACTED_LEN];
static int	nknown = 0;
static const char *masked_statement = NULL;

/* debug_query_string, if it has been searched and contains no key. */
static const char *clean_query = NULL;

static emit_log_hook_type prev_emit_log_hook = NULL;
static post_parse_analyze_hook_type prev_post_parse_analyze_hook = NULL;
static ExecutorRun_hook_type prev_ExecutorRun_hook = NULL;
static ProcessUtility_hook_type prev_ProcessUtility_hook = NULL;

/*
 * Masks keys in this backend's entry of pg_stat_activity, if it shows this
 * text.  Raises no error and allocates nothing.
 */
static void
redact_activity(const char *text)
{
	volatile PgBackendStatus *entry = MyBEEntry;
	KeyMatch	match = {0};
	char	   *shown;
	Size		shown_len;
	Size		len;

	/* An odd count: we have interrupted code that is writing it. */
	if (entry == NULL || entry->st_activity_raw == NULL ||
		(entry->st_changecount & 1) != 0)
		return;

	shown = entry->st_activity_raw;
	shown_len = strnlen(shown, pgstat_track_activity_query_size - 1);
	len = strnlen(text, shown_len + RAW_KEY_MAX_LEN);

	while (key_scan_find(text, len, match.end, &match) &&
		   match.redact_from < shown_len)
	{
		Size		len_shown = Min(match.redact_to, shown_len) - match.redact_from;

		Assert(match.redact_from < match.redact_to && match.redact_to <= len);

		if (memcmp(shown + match.redact_from, text + match.redact_from, len_shown) != 0)
			continue;

		PGSTAT_BEGIN_WRITE_ACTIVITY(entry);
		memset(shown + match.redact_from, KEY_REDACTED_CHAR, len_shown);
		PGSTAT_END_WRITE_ACTIVITY(entry);
	}
}

/* Remembers a key that was found in a text, if there is space. */
static void
remember_key(const char *text, const KeyMatch *match)
{
	Assert(match->redact_from <= match->redact_to);
	Assert(nknown <= MAX_KNOWN_KEYS);

	if (nknown < MAX_KNOWN_KEYS &&
		match->redact_to - match->redact_from == KEY_REDACTED_LEN)
		memcpy(known[nknown++], text + match->redact_from, KEY_REDACTED_LEN);
}

/* Remembers the keys of a statement; match is the first of them. */
static void
remember_keys(const char *query, Size len, KeyMatch match)
{
	nknown = 0;
	do
		remember_key(query, &match);
	while (nknown < MAX_KNOWN_KEYS &&
		   key_scan_find(query, len, match.end, &match));
}

static void
clear_known_keys(void)
{
	explicit_bzero(known, sizeof(known));
	nknown = 0;
	masked_statement = NULL;
}

/*
 * Replaces the statement to be logged with a masked copy, if there is a key in
 * it.  Raises no error.
 */
static void
redact_statement(ErrorData *edata)
{
	const char *query = debug_query_string;
	char	   *masked = NULL;
	KeyMatch	match;
	Size		len = query != NULL ? strlen(query) : 0;

	if (!key_scan_find(query, len, 0, &match))
	{
		if (nknown > 0 && (query == NULL || query != masked_statement))
			clear_known_keys();
		return;
	}

	remember_keys(query, len, match);
	redact_activity(query);

	if (MessageContext != NULL && CritSectionCount == 0)
		masked = MemoryContextAllocExtended(MessageContext, len + 1,
											MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
	if (masked == NULL)
	{
		edata->hide_stmt = true;
		return;
	}

	memcpy(masked, query, len + 1);
	key_scan_mask(masked, len);
	debug_query_string = masked_statement = masked;
}

/* Masks the keys in a field, and remembers them. */
static void
mask_keys(char *field)
{
	Size		len = strlen(field);
	KeyMatch	match = {0};

	while (key_scan_find(field, len, match.end, &match))
	{
		remember_key(field, &match);
		key_scan_redact(field, &match);
	}
}

/* Masks the fragments of known keys in a field. */
static void
mask_fragments(char *field)
{
	Size		len = nknown > 0 ? strlen(field) : 0;

	for (int i = 0; i < nknown && len <= FRAGMENTS_MAX_TEXT; i++)
		key_scan_mask_pieces(field, len, known[i], KEY_REDACTED_LEN);
}

/* Masks the keys in the fields of a message, then fragments of all of them. */
static void
redact_fields(ErrorData *edata)
{
	char	   *fields[] = {
		edata->message, edata->detail, edata->detail_log, edata->hint,
		edata->context, edata->backtrace, edata->internalquery
	};
	int			nstatement = nknown;

	for (size_t i = 0; i < lengthof(fields); i++)
	{
		if (fields[i] != NULL)
			mask_keys(fields[i]);
	}
	for (size_t i = 0; i < lengthof(fields); i++)
	{
		if (fields[i] != NULL)
			mask_fragments(fields[i]);
	}

	/* Keys of this message say nothing about the next one. */
	Assert(nstatement <= nknown && nknown <= MAX_KNOWN_KEYS);
	explicit_bzero(known[nstatement], (nknown - nstatement) * KEY_REDACTED_LEN);
	nknown = nstatement;
}

/* emit_log_hook: masks the keys in a message. */
static void
redact_log(ErrorData *edata)
{
	if (guc_redact_log)
	{
		redact_statement(edata);
		redact_fields(edata);
	}

	if (prev_emit_log_hook)
		prev_emit_log_hook(edata);
}

/* Callback of MessageContext: the text has been freed. */
static void
clear_clean_query(void *arg)
{
	clean_query = NULL;
}

/*
 * Remembers a text without keys.  A text of many statements is passed with
 * each of them; searching it each time would take time quadratic in its
 * length.
 */
static void
set_clean_query(const char *query)
{
	static MemoryContextCallback callback = {.func = clear_clean_query};

	if (query != debug_query_string || MessageContext == NULL || clean_query != NULL)
		return;

	MemoryContextRegisterResetCallback(MessageContext, &callback);
	clean_query = query;
}

/*
 * Returns the text for hooks of other libraries: a masked copy, palloc'd, if
 * there is a key in it.
 */
static const char *
redact_query(const char *query)
{
	KeyMatch	match;
	char	   *masked;
	Size		len;

	if (!guc_redact_log || query == NULL || query == clean_query)
		return query;
	len = strlen(query);
	if (!key_scan_find(query, len, 0, &match))
	{
		set_clean_query(query);
		return query;
	}

	redact_activity(query);

	masked = MemoryContextAllocHuge(CurrentMemoryContext, len + 1);
	memcpy(masked, query, len + 1);
	key_scan_mask(masked, len);
	return masked;
}

/* post_parse_analyze_hook */
static void
redact_analyzed(ParseState *pstate, Query *query, JumbleState *jstate)
{
	const char *source = pstate->p_sourcetext;

	if (prev_post_parse_analyze_hook)
	{
		pstate->p_sourcetext = redact_query(source);
		prev_post_parse_analyze_hook(pstate, query, jstate);
		pstate->p_sourcetext = source;
	}
	else if (guc_redact_log && source != NULL)
		redact_activity(source);
}

/* ExecutorRun_hook */
static void
redact_executor_run(EXECUTOR_RUN_PARAMETERS)
{
	/*
	 * Nested statements are not shown; this comparison rules out most of
	 * them.
	 */
	if (guc_redact_log && debug_query_string != NULL &&
		strncmp(queryDesc->sourceText, debug_query_string, 32) == 0)
		redact_activity(queryDesc->sourceText);

	if (prev_ExecutorRun_hook)
		prev_ExecutorRun_hook(EXECUTOR_RUN_ARGUMENTS);
	else
		standard_ExecutorRun(EXECUTOR_RUN_ARGUMENTS);
}

/* ProcessUtility_hook */
static void
redact_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
			   ProcessUtilityContext context, ParamListInfo params,
			   QueryEnvironment *queryEnv, DestReceiver *dest,
			   QueryCompletion *qc)
{
	queryString = redact_query(queryString);

	if (prev_ProcessUtility_hook)
		prev_ProcessUtility_hook(pstmt, queryString, readOnlyTree, context,
								 params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context,
								params, queryEnv, dest, qc);
}

void
redact_init(void)
{
	/* Twice, and the hooks would call themselves. */
	Assert(emit_log_hook != redact_log);

	prev_emit_log_hook = emit_log_hook;
	emit_log_hook = redact_log;
	prev_post_parse_analyze_hook = post_parse_analyze_hook;
	post_parse_analyze_hook = redact_analyzed;
	prev_ExecutorRun_hook = ExecutorRun_hook;
	ExecutorRun_hook = redact_executor_run;
	prev_ProcessUtility_hook = ProcessUtility_hook;
	ProcessUtility_hook = redact_utility;
}
