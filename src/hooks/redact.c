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
 * hook again; and positions in the text stay right.
 *
 * No more than the first REDACT_MAX_LEN bytes of a field or of the statement
 * are searched and logged, since the hook cannot be interrupted; the rest is
 * cut off.
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
 * then copies it, as parallel CREATE INDEX and VACUUM do, may read as many
 * bytes of the copy.  There is at most one copy per message from the client.
 * Where none can be made (no memory, a critical section, a process without
 * clients), hide_stmt omits the statement.
 *
 * Fragments.  The server cuts keys: its scanner takes gw-7Ab... without
 * quotes for gw minus a number with trailing junk, names are folded to lower
 * case, contexts are truncated.  No checksum finds these, but the statement
 * has the whole key.  So the redacted parts of the first few keys of the
 * statement, and of the message itself, which has the text of dynamic SQL,
 * are searched for in the message as well, if that is short.
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
 * is.  The parse tree has been made from the original.  They find statements
 * by their position in that text and some parse it again, so it is neither cut
 * nor searched in part only, but in steps between which interrupts are served.
 *
 * A text of many statements is passed with each of them.  Searching it each
 * time would take time quadratic in its length, so what was found out about the
 * statement of the client is remembered until the next message.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "mb/pg_wchar.h"
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

/* How much of a field, and of the statement, is logged. */
#define REDACT_MAX_LEN	(1024 * 1024)

/* How much is searched: a key that starts in what is logged ends in it. */
#define REDACT_SEARCH_LEN	(REDACT_MAX_LEN + RAW_KEY_MAX_LEN)

/* Is put where a text is cut. */
static const char cut_mark[] = "... (cut)";

StaticAssertDecl(sizeof(cut_mark) <= RAW_KEY_MAX_LEN,
				 "the mark must fit in place of what is cut off");

/* The redacted parts of the keys of the statement. */
static char known[MAX_KNOWN_KEYS][KEY_REDACTED_LEN];
static int	nknown = 0;

/* About the statement of the client, until MessageContext is reset. */
static struct
{
	const char *text;			/* NULL: nothing is known */
	const char *redacted;		/* for other hooks: text if there is no key in it */
	const char *logged;			/* the copy that has replaced debug_query_string */
} statement;

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

/* Remembers the first keys of a text. */
static void
remember_keys(const char *text, Size len)
{
	KeyMatch	match = {0};

	while (nknown < MAX_KNOWN_KEYS && key_scan_find(text, len, match.end, &match))
		remember_key(text, &match);
}

static void
clear_known_keys(void)
{
	explicit_bzero(known, sizeof(known));
	nknown = 0;
}

/* Callback of MessageContext: the text and its copies have been freed. */
static void
clear_statement(void *arg)
{
	memset(&statement, 0, sizeof(statement));
	clear_known_keys();
}

/*
 * Starts to remember what is found out about a text, if it is the statement of
 * the client.  Returns whether it is.
 */
static bool
begin_statement(const char *text)
{
	static MemoryContextCallback callback = {.func = clear_statement};

	if (MessageContext == NULL)
		return false;
	if (text == statement.text)
		return true;
	if (text != debug_query_string)
		return false;

	if (statement.text == NULL)
		MemoryContextRegisterResetCallback(MessageContext, &callback);
	memset(&statement, 0, sizeof(statement));
	statement.text = text;
	return true;
}

/* Masks the keys in a text, and remembers them. */
static void
mask_keys(char *text, Size len)
{
	KeyMatch	match = {0};

	while (key_scan_find(text, len, match.end, &match))
	{
		remember_key(text, &match);
		key_scan_redact(text, &match);
	}
}

/*
 * Masks the keys in a text, and remembers them; cuts a text that is too long,
 * and returns whether it did.
 */
static bool
mask_and_cut(char *text, Size len)
{
	Size		searched = Min(len, REDACT_SEARCH_LEN);

	mask_keys(text, searched);
	if (len <= REDACT_SEARCH_LEN)
		return false;

	strcpy(text + pg_mbcliplen(text, searched, REDACT_MAX_LEN), cut_mark);
	return true;
}

/*
 * Returns a copy of the statement for the log, or NULL.  Beyond the cut it is
 * as long as the original, but not initialized.
 */
static const char *
copy_for_log(const char *query, Size len)
{
	char	   *copy = NULL;

	if (MessageContext != NULL && CritSectionCount == 0)
		copy = MemoryContextAllocExtended(MessageContext, len + 1,
										  MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
	if (copy == NULL)
		return NULL;

	memcpy(copy, query, Min(len, REDACT_SEARCH_LEN));
	copy[Min(len, REDACT_SEARCH_LEN)] = '\0';
	mask_and_cut(copy, len);
	return copy;
}

/*
 * Replaces the statement to be logged with a masked copy, if there is a key in
 * it or if it is too long.  Raises no error.
 */
static void
redact_statement(ErrorData *edata)
{
	const char *query = debug_query_string;
	const char *copy;
	KeyMatch	match;
	Size		len;
	Size		searched;

	if (query != NULL && query == statement.logged)
		return;
	if (nknown > 0)
		clear_known_keys();
	if (query == NULL)
		return;

	len = strlen(query);
	searched = Min(len, REDACT_SEARCH_LEN);
	if (len == searched &&
		(query == statement.redacted || !key_scan_find(query, len, 0, &match)))
	{
		if (begin_statement(query))
			statement.redacted = query;
		return;
	}

	redact_activity(query);
	copy = copy_for_log(query, len);
	if (copy == NULL)
	{
		remember_keys(query, searched);
		edata->hide_stmt = true;
		return;
	}

	(void) begin_statement(query);
	debug_query_string = statement.logged = copy;
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
		if (fields[i] != NULL && mask_and_cut(fields[i], strlen(fields[i])) &&
			fields[i] == edata->internalquery)
			edata->internalpos = 0; /* it may be where there is no text now */
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

/* Returns a text with all keys masked; match is the first of them. */
static char *
copy_redacted(MemoryContext context, const char *text, Size len, KeyMatch match)
{
	char	   *copy = MemoryContextAllocHuge(context, len + 1);

	memcpy(copy, text, len + 1);
	do
		key_scan_redact(copy, &match);
	while (key_scan_find_in_steps(copy, len, match.end, &match));

	return copy;
}

/*
 * Returns the text for hooks of other libraries: a masked copy, palloc'd, if
 * there is a key in it.
 */
static const char *
redact_query(const char *query)
{
	const char *redacted = query;
	bool		is_statement;
	KeyMatch	match;
	Size		len;

	if (!guc_redact_log || query == statement.logged)
		return query;
	if (query == statement.text && statement.redacted != NULL)
		return statement.redacted;

	is_statement = begin_statement(query);
	len = strlen(query);
	if (key_scan_find_in_steps(query, len, 0, &match))
	{
		redact_activity(query);
		redacted = copy_redacted(is_statement ? MessageContext : CurrentMemoryContext,
								 query, len, match);
	}
	if (is_statement)
		statement.redacted = redacted;

	return redacted;
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
