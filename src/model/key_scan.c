/*-------------------------------------------------------------------------
 *
 * key_scan.c
 *	  Finds raw keys in any text.  Allocates nothing, and raises no errors,
 *	  except that key_scan_find_in_steps() heeds interrupts.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A key is 33 to 56 characters of A-Z a-z 0-9 _ -, of which the last 32 are
 * letters and digits, and the last five of these a checksum of all before.
 * The checksum shows where a key starts and ends, so a key is found whatever
 * is next to it: "key=gw-...", "xgw-...", adjacent keys.  Each possible start
 * is tried with each possible end; one pass of the checksum over 51 characters
 * covers all ends of one start.  Passes are needed only in runs of 32 or more
 * letters and digits; in other text one character in 32 is read.  So the cost
 * is linear in the length of the text: at worst 51 steps of the checksum per
 * character, and twice that with keys.  In a long run, such as a large value
 * in hexadecimal, only the first 1024 characters after its start or the last
 * key, and the last 1024, are tried.
 *
 * Found are:
 * - all generated keys, whatever their prefix;
 * - by chance one in 900 million other strings of that form.  If two matches
 *   overlap, one of them is by chance, and both are masked.
 * Not found are:
 * - a key with more than 1024 letters and digits, and nothing else, directly
 *   before it and directly after it;
 * - truncated, split and encoded keys (hex, \u0041, percent signs) and imported
 *   keys: nothing distinguishes these from other text.
 *
 * A key is masked in place, at the same length: prefix, first random
 * character, asterisks, last four.  key_prefix shows the same characters.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/pg_crc.h"

#include "model/key_format.h"
#include "model/key_scan.h"

/* How far from both ends of a run of letters and digits a key is sought. */
#define RUN_SEARCH_LEN	1024

/* How much is searched between two looks at interrupts; a few ms at worst. */
#define STEP_LEN		(64 * 1024)

StaticAssertDecl(KEY_REDACTED_LEN == KEY_BODY_LEN - 1 - 4,
				 "all but the first and the last four characters are masked");

/* Can it be one of the last 32 characters of a key? */
static inline bool
is_body_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		   (c >= '0' && c <= '9');
}

static inline bool
is_prefix_char(char c)
{
	return is_body_char(c) || c == '_' || c == '-';
}

/*
 * Returns the end of the key that starts at start, or 0 if none does.  Of the
 * limits of the end, min_end is 32 characters after the run of letters and
 * digits starts, and max_end is where the run ends.
 */
static Size
end_of_key(const char *text, Size start, Size min_end, Size max_end)
{
	pg_crc32	crc;

	min_end = Max(min_end, start + 1 + KEY_BODY_LEN);
	max_end = Min(max_end, start + RAW_KEY_MAX_LEN);

	INIT_TRADITIONAL_CRC32(crc);
	for (Size end = start + KEY_CHECKSUM_LEN + 1; end <= max_end; end++)
	{
		const char *checksum = text + end - KEY_CHECKSUM_LEN;

		COMP_TRADITIONAL_CRC32(crc, checksum - 1, 1);
		if (end >= min_end)
		{
			pg_crc32	final = crc;

			FIN_TRADITIONAL_CRC32(final);
			if (key_format_is_checksum(checksum, final))
				return end;
		}
	}

	return 0;
}

/*
 * Finds a key that starts at first or later, in a run of letters and digits
 * that starts at begin; the characters between the two may belong to a prefix.
 * *run_end is how far the run is known to extend.  It is followed no further
 * than needed, since it may be long and full of keys.
 */
static bool
find_in_run(const char *text, Size len, Size first, Size begin, Size *run_end,
			Size *key_start, Size *key_end)
{
	for (Size start = first;; start++)
	{
		if (start == begin + RUN_SEARCH_LEN)
		{
			while (*run_end < len && is_body_char(text[*run_end]))
				(*run_end)++;
			start = Max(start, *run_end - RUN_SEARCH_LEN);
		}
		while (*run_end < Min(len, start + RAW_KEY_MAX_LEN) &&
			   is_body_char(text[*run_end]))
			(*run_end)++;
		if (start + 1 + KEY_BODY_LEN > *run_end)
			return false;

		*key_end = end_of_key(text, start, begin + KEY_BODY_LEN, *run_end);
		if (*key_end != 0)
		{
			*key_start = start;
			return true;
		}
	}
}

/* Finds the first key in text[from..len), ignoring what is before. */
static bool
find_first(const char *text, Size len, Size from, Size *key_start, Size *key_end)
{
	/* Any run of 32 characters contains one that is probed. */
	for (Size probe = from + KEY_BODY_LEN - 1; probe < len; probe += KEY_BODY_LEN)
	{
		Size		begin = probe;
		Size		end = probe;
		Size		first;

		if (!is_body_char(text[probe]))
			continue;

		while (begin > from && is_body_char(text[begin - 1]))
			begin--;
		while (end < len && end - begin < KEY_BODY_LEN && is_body_char(text[end]))
			end++;

		if (end - begin == KEY_BODY_LEN)
		{
			first = begin;
			while (first > from && begin - first < KEY_PREFIX_MAX_LEN &&
				   is_prefix_char(text[first - 1]))
				first--;
			if (find_in_run(text, len, first, begin, &end, key_start, key_end))
				return true;
		}

		probe = end;			/* no run starts before the next */
	}

	return false;
}

/*
 * Finds the first key in text[from..len), ignoring what is before, and all
 * that overlap with it.
 */
bool
key_scan_find(const char *text, Size len, Size from, KeyMatch *match)
{
	Size		start;
	Size		end;

	Assert(from <= len);

	if (!find_first(text, len, from, &start, &end))
		return false;

	match->key_start = start;
	match->key_end = end;
	match->end = end;
	match->redact_from = end - KEY_BODY_LEN + 1;
	match->redact_to = end - 4;

	from = start;
	while (find_first(text, Min(len, match->end - 1 + RAW_KEY_MAX_LEN),
					  start + 1, &start, &end) &&
		   start < match->end)
	{
		match->end = Max(match->end, end);
		match->redact_from = from;
		match->redact_to = match->end;
	}

	return true;
}

/*
 * As key_scan_find(), in a text of any length: in steps, between which
 * interrupts are served.
 */
bool
key_scan_find_in_steps(const char *text, Size len, Size from, KeyMatch *match)
{
	for (;;)
	{
		Size		end = Min(len, from + STEP_LEN);

		CHECK_FOR_INTERRUPTS();
		if (key_scan_find(text, end, from, match))
			return true;
		if (end == len)
			return false;
		from = end - RAW_KEY_MAX_LEN; /* a key may start before the end */
	}
}

/* Masks a match in its text, in place. */
void
key_scan_redact(char *text, const KeyMatch *match)
{
	Assert(match->redact_from < match->redact_to && match->redact_to <= match->end);

	memset(text + match->redact_from, KEY_REDACTED_CHAR,
		   match->redact_to - match->redact_from);
}

/* Masks all keys in a text, in place.  Returns whether it found any. */
bool
key_scan_mask(char *text, Size len)
{
	KeyMatch	match = {0};
	bool		found = false;

	while (key_scan_find(text, len, match.end, &match))
	{
		key_scan_redact(text, &match);
		found = true;
	}

	return found;
}

/* The length of the common beginning of two texts, ignoring case. */
static Size
common_len(const char *a, Size a_len, const char *b, Size b_len)
{
	Size		len = 0;

	while (len < a_len && len < b_len && is_body_char(a[len]) &&
		   pg_tolower((unsigned char) a[len]) == pg_tolower((unsigned char) b[len]))
		len++;

	return len;
}

/*
 * Masks pieces of the hidden part of a known key in a text: KEY_PIECE_LEN or
 * more of its characters, in upper or lower case.  The cost is the product of
 * the two lengths.
 */
void
key_scan_mask_pieces(char *text, Size len, const char *hidden, Size hidden_len)
{
	for (Size i = 0; i + KEY_PIECE_LEN <= len; i++)
	{
		for (Size j = 0; j + KEY_PIECE_LEN <= hidden_len; j++)
		{
			Size		common = common_len(text + i, len - i, hidden + j,
											hidden_len - j);

			if (common >= KEY_PIECE_LEN)
			{
				memset(text + i, KEY_REDACTED_CHAR, common);
				break;
			}
		}
	}
}
