/*-------------------------------------------------------------------------
 *
 * trace.c
 *	  Plays traces of requests on src/model/window.c, with a clock of their own.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * It reads commands and answers each with a line, for test/t/301_windows.pl:
 *
 *	new LENGTH LIMIT LENGTH LIMIT ...	four windows, nothing has passed
 *	verify NOW TOKENS					a request that has so many tokens at most
 *	record NOW TOKENS					tokens that have been used
 *	void NOW TOKENS AT					tokens of a record at that time, taken back
 *	settle NOW TOKENS AT				tokens at that time, more or, below 0, less
 *
 * The first and the third window count requests, the others tokens; a limit of
 * 0 is none.  An answer is what is used of each window now, and for a request
 * also which window refuses it longest (-1: it passes), until when, and whether
 * it would pass a microsecond before and at that time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "model/window.h"

/* The server's own is not linked. */
#undef printf

#define NWINDOWS	4
#define PASSES		(-1)

static Window windows[NWINDOWS];
static int64 lengths[NWINDOWS];
static int64 limits[NWINDOWS];

/* Returns the window that refuses longest, or PASSES. */
static int
find_full(Window *asked, const int64 *costs, TimestampTz now, TimestampTz *until)
{
	int			full = PASSES;

	for (int i = 0; i < NWINDOWS; i++)
	{
		TimestampTz wait = limits[i] == 0 ? 0 : window_wait(&asked[i], lengths[i], limits[i], costs[i], now);

		if (wait != 0 && (full == PASSES || wait > *until))
		{
			full = i;
			*until = wait;
		}
	}
	return full;
}

/* Looks into the future or the past, and leaves the windows at now. */
static bool
passes(const int64 *costs, TimestampTz now)
{
	Window		copy[NWINDOWS];
	TimestampTz until;

	memcpy(copy, windows, sizeof(windows));
	return find_full(copy, costs, now, &until) == PASSES;
}

static void
verify(TimestampTz now, int64 tokens)
{
	const int64 costs[NWINDOWS] = {1, tokens, 1, tokens};
	const int64 spent[NWINDOWS] = {1, 0, 1, 0};
	TimestampTz until;
	int			full = find_full(windows, costs, now, &until);

	if (full != PASSES)
	{
		printf("%d %lld %d %d", full, (long long) until,
			   passes(costs, until - 1), passes(costs, until));
		return;
	}
	for (int i = 0; i < NWINDOWS; i++)
	{
		if (limits[i] > 0)
			window_spend(&windows[i], lengths[i], spent[i], now);
	}
	printf("-1 0 0 0");
}

/* To ask rolls a window on, so a copy is asked: the windows stay as they are. */
static void
print_used(TimestampTz now)
{
	Window		copy[NWINDOWS];

	memcpy(copy, windows, sizeof(windows));
	for (int i = 0; i < NWINDOWS; i++)
		printf(" %lld", (long long) window_used(&copy[i], lengths[i], now));
	printf("\n");
}

/* Has the windows of tokens changed by one of the functions that do so at a time. */
static void
change_tokens(void (*change) (Window *, int64, int64, TimestampTz, TimestampTz),
			  TimestampTz now, int64 tokens, TimestampTz at)
{
	for (int i = 1; i < NWINDOWS; i += 2)
	{
		if (limits[i] > 0)
			change(&windows[i], lengths[i], tokens, at, now);
	}
	printf("-1 0 0 0");
}

static int
count_arguments(const char *command)
{
	if (strcmp(command, "new") == 0)
		return 2 * NWINDOWS;
	return strcmp(command, "void") == 0 || strcmp(command, "settle") == 0 ? 3 : 2;
}

int
main(void)
{
	char		command[16];

	while (scanf("%15s", command) == 1)
	{
		long		a[2 * NWINDOWS] = {0};
		int			n = count_arguments(command);

		for (int i = 0; i < n; i++)
		{
			if (scanf("%ld", &a[i]) != 1)
				return 1;
		}
		if (n == 2 * NWINDOWS)
		{
			memset(windows, 0, sizeof(windows));
			for (int i = 0; i < NWINDOWS; i++)
			{
				lengths[i] = a[2 * i];
				limits[i] = a[2 * i + 1];
			}
			continue;
		}

		if (strcmp(command, "verify") == 0)
			verify(a[0], a[1]);
		else if (strcmp(command, "settle") == 0)
			change_tokens(window_settle_at, a[0], a[1], a[2]);
		else if (n == 3)
			change_tokens(window_add_at, a[0], -a[1], a[2]);
		else
			change_tokens(window_add_at, a[0], a[1], a[0]);
		print_used(a[0]);
	}

	return 0;
}
