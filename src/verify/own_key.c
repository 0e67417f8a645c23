/*-------------------------------------------------------------------------
 *
 * own_key.c
 *	  Refuses a configuration that has the very key it describes.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A key that was made elsewhere has no checksum of ours, so nothing tells it
 * from other text but its hash.  So texts are hashed, with SHA-256 and under
 * each secret that is loaded.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "model/key_hash.h"
#include "settings/hmac_secrets.h"
#include "verify/own_key.h"

#define WHITE_SPACE		" \t\n\r\f\v"
/* Shorter words of descriptions and the like are not hashed: no usable key is that short. */
#define WORD_MIN_LEN	16

static bool
has_hash(const text *value, const bytea *secret, const bytea *hash)
{
	bytea	   *other = key_hash_compute(value, secret);
	bool		result = memcmp(VARDATA_ANY(other), VARDATA_ANY(hash), KEY_HASH_LEN) == 0;

	pfree(other);
	return result;
}

/* Raises 22023 if data is the key with this hash, under any secret. */
static void
check(const bytea *hash, const char *what, const char *data, Size len)
{
	text	   *value = cstring_to_text_with_len(data, len);
	bool		found = has_hash(value, NULL, hash);

	CHECK_FOR_INTERRUPTS();
	for (int i = 0; i < hmac_secrets_count() && !found; i++)
		found = has_hash(value, hmac_secrets_value(hmac_secrets_get(i)), hash);
	explicit_bzero(VARDATA(value), len);
	pfree(value);

	if (found)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not contain the raw API key", what)));
}

/* Checks a text as a whole, and each word of it. */
static void
check_words(const bytea *hash, const char *what, const char *data, Size len)
{
	char	   *copy;
	Size		word_len;

	if (len < WORD_MIN_LEN)
		return;

	check(hash, what, data, len);
	copy = pnstrdup(data, len);
	for (char *word = copy; *word != '\0'; word += word_len)
	{
		word += strspn(word, WHITE_SPACE);
		word_len = strcspn(word, WHITE_SPACE);
		if (word_len >= WORD_MIN_LEN && word_len < len)
			check(hash, what, word, word_len);
	}
	explicit_bzero(copy, len);
	pfree(copy);
}

/* Checks the names and strings of a document. */
static void
check_jsonb(const bytea *hash, const char *what, Jsonb *document)
{
	JsonbIterator *it = JsonbIteratorInit(&document->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		if ((token == WJB_KEY || token == WJB_VALUE || token == WJB_ELEM) &&
			value.type == jbvString)
			check_words(hash, what, value.val.string.val, value.val.string.len);
	}
}

/* Raises 22023 if the value called what is the key with this hash. */
void
own_key_check_text(const bytea *hash, const char *what, const text *value)
{
	Assert(VARSIZE_ANY_EXHDR(hash) == KEY_HASH_LEN);
	check(hash, what, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

/*
 * Raises 22023 if the text called what is, or has as a word, the key with this
 * hash.
 */
void
own_key_check_words(const bytea *hash, const char *what, const text *value)
{
	Assert(VARSIZE_ANY_EXHDR(hash) == KEY_HASH_LEN);
	check_words(hash, what, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

/*
 * Raises 22023 if a text of a key's configuration is, or has as a word, the key
 * with this hash.
 */
void
own_key_check_config(const bytea *hash, const KeyConfig *config)
{
	Assert(VARSIZE_ANY_EXHDR(hash) == KEY_HASH_LEN);

	for (int member = 0; member < CONFIG_NMEMBERS; member++)
	{
		const char *what = key_config_member_name(member);

		if (config->nulls[member])
			continue;
		if (key_config_member_type(member) == TEXTOID)
		{
			text	   *value = DatumGetTextPP(config->values[member]);

			check_words(hash, what, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
		}
		else if (key_config_member_type(member) == JSONBOID)
			check_jsonb(hash, what, DatumGetJsonbP(config->values[member]));
	}
}
