/*-------------------------------------------------------------------------
 *
 * key_scan.c
 *	  Finds raw keys in any text.  Pure: no memory, no error, no server.
 *
 * A key is 33 to 56 characters of A-Z a-z 0-9 _ -, of which the last 32 are
 * no _ or -, and the last five of these a checksum of all before.  The
 * checksum says where a key begins and where it ends, so it is found
 * whatever stands beside it: "key=gw-...", "xgw-...", key after key.  Each
 * possible beginning is tried with each possible end; one pass of the
 * checksum over 51 characters does for all ends of one beginning.  There can
 * be such passes only where 32 letters and digits stand in a row; in other
 * text one character in 32 is looked at.  So the cost is linear in the
 * length of the text: at worst 51 steps of the checksum a character, and
 * twice that much where there are keys.  In a row that goes on and on, as a
 * large value in hexadecimal does, only the first 1024 characters after its
 * beginning or the last key, and the last 1024, are tried.
 *
 * What is found:
 * - every key of ours, whatever its prefix;
 * - by chance one in 900 million other strings of that form.  Where two finds
 *   overlap, one of which must be chance, both are hidden.
 * What is not:
 * - a key with more than 1024 letters and digits, and nothing else, directly
 *   before it and directly after it;
 * - a key that has been cut or split, that is spelled in another way (hex,
 *   \u0041, percent signs), and an imported key: nothing tells these from
 *   other text.
 *
 * A key is masked in its place, its length kept: prefix, first random
 * character, asterisks, last four.  That is what key_prefix shows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/pg_crc.h"

#include "model/key_format.h"
#include "model/key_scan.h"

/* How far a key is looked for from both ends of a row of letters. */
#define ROW_SEARCH_LEN	1024

/* May it stand among the last 32 characters of a key? */
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
 * Returns the end of the key that begins at start, or 0 when none does.  It
 * lies between the two limits, of which the first is where 32 letters and
 * digits have come by, and the second is where they stop.
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
 * Looks for a key that begins at first or later, in a row of letters and
 * digits that begins at begin; what stands between the two may be part of a
 * prefix.  *row_end is how far the row is known to go.  It is followed no
 * further than needed: it may be long, and full of keys.
 */
static bool
find_in_row(const char *text, Size len, Size first, Size begin, Size *row_end,
			Size *key_start, Size *key_end)
{
	for (Size start = first;; start++)
	{
		if (start == begin + ROW_SEARCH_LEN)
		{
			while (*row_end < len && is_body_char(text[*row_end]))
				(*row_end)++;
			start = Max(start, *row_end - ROW_SEARCH_LEN);
		}
		while (*row_end < Min(len, start + RAW_KEY_MAX_LEN) &&
			   is_body_char(text[*row_end]))
			(*row_end)++;
		if (start + 1 + KEY_BODY_LEN > *row_end)
			return false;

		*key_end = end_of_key(text, start, begin + KEY_BODY_LEN, *row_end);
		if (*key_end != 0)
		{
			*key_start = start;
			return true;
		}
	}
}

/* Finds the first key in text[from..len), as if nothing stood before. */
static bool
find_first(const char *text, Size len, Size from, Size *key_start, Size *key_end)
{
	/* Of any 32 characters in a row, one is probed. */
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
			if (find_in_row(text, len, first, begin, &end, key_start, key_end))
				return true;
		}

		probe = end;			/* and no row begins before the next */
	}

	return false;
}

/*
 * Finds the first key in text[from..len), as if nothing stood before, and all
 * that overlap with it.
 */
bool
key_scan_find(const char *text, Size len, Size from, KeyMatch *match)
{
	Size		start;
	Size		end;

	if (!find_first(text, len, from, &start, &end))
		return false;

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

/* Masks what was found in a text, in place. */
void
key_scan_redact(char *text, const KeyMatch *match)
{
	memset(text + match->redact_from, KEY_REDACTED_CHAR,
		   match->redact_to - match->redact_from);
}

/* Masks all keys in a text, in place.  Returns whether there were any. */
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

/* The length of what two texts have in common at their beginnings, but case. */
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
 * Masks what a text shows of the hidden part of a key that is known from
 * elsewhere: eight characters of it or more, in any case.  The cost is the
 * product of the two lengths.
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
