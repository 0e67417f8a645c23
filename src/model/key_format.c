/*-------------------------------------------------------------------------
 *
 * key_format.c
 *	  The text of a raw key, and its masked form.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A raw key is a prefix, 27 random base-62 characters (160 bits) and a checksum
 * of five: the low five base-62 digits, most significant first, of the CRC-32
 * (IEEE 802.3, as in zlib) of all characters before them.  By its checksum a
 * key is recognized without a table; it is no protection.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/pg_crc.h"

#include "base/compat.h"
#include "base/random.h"
#include "base/secure_memory.h"
#include "model/key_format.h"

#define RANDOM_LEN		(KEY_BODY_LEN - KEY_CHECKSUM_LEN)

static const char base62[] =
	"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

StaticAssertDecl(sizeof(base62) == 62 + 1, "the alphabet has 62 characters");
StaticAssertDecl(MASKED_KEY_MAX_LEN < 1 + KEY_BODY_LEN,
				 "masked forms must be shorter than raw keys");

/* True for 1 to 24 characters of A-Z a-z 0-9 _ -. */
bool
key_format_prefix_is_valid(const char *prefix)
{
	Size		len = strlen(prefix);

	return len >= 1 && len <= KEY_PREFIX_MAX_LEN &&
		   strspn(prefix,
			   "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
			   "0123456789_-") == len;
}

/*
 * Fills dest with random base-62 characters, all equally likely: bytes from 248
 * on, the largest multiple of 62, are discarded.
 */
static void
put_random(char *dest, int len)
{
	uint8	   *pool = secure_alloc(2 * RANDOM_LEN);
	int			filled = 0;

	while (filled < len)
	{
		random_fill(pool, 2 * RANDOM_LEN);
		for (int i = 0; i < 2 * RANDOM_LEN && filled < len; i++)
		{
			if (pool[i] < 248)
				dest[filled++] = base62[pool[i] % 62];
		}
	}

	secure_wipe(pool);
}

/* Appends the checksum of the first len characters of raw. */
static void
put_checksum(char *raw, int len)
{
	pg_crc32	crc;

	INIT_TRADITIONAL_CRC32(crc);
	COMP_TRADITIONAL_CRC32(crc, raw, len);
	FIN_TRADITIONAL_CRC32(crc);

	for (int i = KEY_CHECKSUM_LEN - 1; i >= 0; i--)
	{
		raw[len + i] = base62[crc % 62];
		crc /= 62;
	}
}

/* Are five characters the checksum of a text with this CRC? */
bool
key_format_is_checksum(const char *checksum, uint32 crc)
{
	for (int i = KEY_CHECKSUM_LEN - 1; i >= 0; i--)
	{
		if (checksum[i] != base62[crc % 62])
			return false;
		crc /= 62;
	}

	return true;
}

/*
 * Generates a raw key with a valid prefix.  The result is from secure_alloc().
 */
text *
key_format_compose(const char *prefix)
{
	int			prefix_len = strlen(prefix);
	int			raw_len = prefix_len + KEY_BODY_LEN;
	text	   *raw_key = secure_alloc(VARHDRSZ + raw_len);
	char	   *raw = VARDATA(raw_key);

	Assert(key_format_prefix_is_valid(prefix));
	SET_VARSIZE(raw_key, VARHDRSZ + raw_len);
	memcpy(raw, prefix, prefix_len);
	put_random(raw + prefix_len, RANDOM_LEN);
	put_checksum(raw, prefix_len + RANDOM_LEN);

	return raw_key;
}

/*
 * Returns the masked form of a key that key_format_compose() made: prefix,
 * first random character, "...", last four.  Palloc'd.
 */
char *
key_format_mask(const text *raw_key)
{
	const char *raw = VARDATA_ANY(raw_key);
	int			raw_len = VARSIZE_ANY_EXHDR(raw_key);
	int			prefix_len = raw_len - KEY_BODY_LEN;

	Assert(prefix_len >= 1 && prefix_len <= KEY_PREFIX_MAX_LEN);
	return psprintf("%.*s...%.4s", prefix_len + 1, raw, raw + raw_len - 4);
}

/*
 * Returns the prefix in a masked form, palloc'd, or NULL if key_format_mask()
 * cannot have made it (imported keys may have any masked form).
 */
char *
key_format_masked_prefix(const char *masked)
{
	int			prefix_len = (int) strlen(masked) - MASKED_KEY_TAIL_LEN;
	char	   *prefix;

	if (prefix_len < 1 || strncmp(masked + prefix_len + 1, "...", 3) != 0)
		return NULL;

	prefix = pnstrdup(masked, prefix_len);
	return key_format_prefix_is_valid(prefix) ? prefix : NULL;
}
