/*-------------------------------------------------------------------------
 *
 * trace.c
 *	  Plays traces of requests on src/model/window.c, with a clock of their own.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * It reads commands and answers each with a line, for test/t/301_windows.pl:
 *
 *	new LIMIT1 LIMIT2 LIMIT3 LIMIT4		nothing has passed
 *	verify NOW TOKENS					a request that has so many tokens at most
 *	record NOW TOKENS					tokens that have been used
 *	void NOW TOKENS AT					tokens of a record at that time, taken back
 *
 * The limits are in the order of WindowKind.  An answer is what is used of
 * each window now, and for a request also which window refuses it (-1: it
 * passes), until when, and whether it would pass a microsecond before and at
 * that time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "model/window.h"

/* The server's own is not linked. */
#undef printf

static Window windows[WINDOW_NKINDS];
static int64 limits[WINDOW_NKINDS];

/* Looks into the future or the past, and leaves the windows at now. */
static bool
passes(const int64 *costs, TimestampTz now)
{
	Window		copy[WINDOW_NKINDS];
	TimestampTz until;

	memcpy(copy, windows, sizeof(windows));
	return window_find_full(copy, limits, costs, now, &until) == NO_WINDOW;
}

static void
verify(TimestampTz now, long tokens)
{
	const int64 costs[WINDOW_NKINDS] = {1, tokens, 1, tokens};
	const int64 spent[WINDOW_NKINDS] = {1, 0, 1, 0};
	TimestampTz until;
	int			full = window_find_full(windows, limits, costs, now, &until);

	if (full != NO_WINDOW)
		printf("%d %lld %d %d", full, (long long) until,
			   passes(costs, until - 1), passes(costs, until));
	else
	{
		window_spend(windows, limits, spent, now);
		printf("-1 0 0 0");
	}
}

/* To ask rolls a window on, so a copy is asked: the windows stay as they are. */
static void
print_used(TimestampTz now)
{
	Window		copy[WINDOW_NKINDS];

	memcpy(copy, windows, sizeof(windows));
	for (int kind = 0; kind < WINDOW_NKINDS; kind++)
		printf(" %lld", (long long) window_used(copy, kind, now));
	printf("\n");
}

static void
add_tokens(TimestampTz now, int64 tokens, TimestampTz at)
{
	if (limits[WINDOW_TOKENS_MINUTE] > 0)
		window_add_at(windows, WINDOW_TOKENS_MINUTE, tokens, at, now);
	if (limits[WINDOW_TOKENS_DAY] > 0)
		window_add_at(windows, WINDOW_TOKENS_DAY, tokens, at, now);
	printf("-1 0 0 0");
}

static int
count_arguments(const char *command)
{
	return strcmp(command, "new") == 0 ? 4 : strcmp(command, "void") == 0 ? 3 : 2;
}

int
main(void)
{
	char		command[16];

	while (scanf("%15s", command) == 1)
	{
		long		a[4] = {0};
		int			n = count_arguments(command);

		for (int i = 0; i < n; i++)
		{
			if (scanf("%ld", &a[i]) != 1)
				return 1;
		}
		if (n == 4)
		{
			memset(windows, 0, sizeof(windows));
			for (int i = 0; i < 4; i++)
				limits[i] = a[i];
			continue;
		}

		if (strcmp(command, "verify") == 0)
			verify(a[0], a[1]);
		else if (n == 3)
			add_tokens(a[0], -a[1], a[2]);
		else
			add_tokens(a[0], a[1], a[0]);
		print_used(a[0]);
	}

	return 0;
}
