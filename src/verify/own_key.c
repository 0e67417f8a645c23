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

/* What a text, or a word of it, would be as a key. */
typedef struct Digest
{
	uint8		hash[KEY_HASH_LEN];
	const char *what;			/* has the text */
} Digest;

struct OwnKeyTexts
{
	Digest	   *digests;
	int			n;
	int			size;			/* of digests */
	bool		sorted;
};

OwnKeyTexts *
own_key_texts_make(void)
{
	return palloc0(sizeof(OwnKeyTexts));
}

static void
add_digest(OwnKeyTexts *texts, const char *what, const text *value, const bytea *secret)
{
	bytea	   *hash = key_hash_compute(value, secret);

	if (texts->n == texts->size)
	{
		texts->size = Max(4, 2 * texts->size);
		texts->digests = texts->digests == NULL
							 ? palloc(texts->size * sizeof(Digest))
							 : repalloc_huge(texts->digests, texts->size * sizeof(Digest));
	}
	texts->digests[texts->n].what = what;
	memcpy(texts->digests[texts->n++].hash, VARDATA_ANY(hash), KEY_HASH_LEN);
	texts->sorted = false;
	pfree(hash);
}

/* Adds data under all secrets. */
static void
add(OwnKeyTexts *texts, const char *what, const char *data, Size len)
{
	text	   *value = cstring_to_text_with_len(data, len);

	CHECK_FOR_INTERRUPTS();
	add_digest(texts, what, value, NULL);
	for (int i = 0; i < hmac_secrets_count(); i++)
		add_digest(texts, what, value, hmac_secrets_value(hmac_secrets_get(i)));
	explicit_bzero(VARDATA(value), len);
	pfree(value);
}

/* Adds a text as a whole, and each word of it. */
static void
add_words(OwnKeyTexts *texts, const char *what, const char *data, Size len)
{
	char	   *copy;
	Size		word_len;

	if (len < WORD_MIN_LEN)
		return;

	add(texts, what, data, len);
	copy = pnstrdup(data, len);
	for (char *word = copy; *word != '\0'; word += word_len)
	{
		word += strspn(word, WHITE_SPACE);
		word_len = strcspn(word, WHITE_SPACE);
		if (word_len >= WORD_MIN_LEN && word_len < len)
			add(texts, what, word, word_len);
	}
	explicit_bzero(copy, len);
	pfree(copy);
}

/* Adds the names and strings of a document. */
static void
add_jsonb(OwnKeyTexts *texts, const char *what, Jsonb *document)
{
	JsonbIterator *it = JsonbIteratorInit(&document->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		if ((token == WJB_KEY || token == WJB_VALUE || token == WJB_ELEM) &&
			value.type == jbvString)
			add_words(texts, what, value.val.string.val, value.val.string.len);
	}
}

/* Adds the value called what, which may be the key. */
void
own_key_add_text(OwnKeyTexts *texts, const char *what, const text *value)
{
	add(texts, what, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

/* Adds the text called what, which may be, or have as a word, the key. */
void
own_key_add_words(OwnKeyTexts *texts, const char *what, const text *value)
{
	add_words(texts, what, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

/* Adds the texts of a key's configuration, likewise. */
void
own_key_add_config(OwnKeyTexts *texts, const KeyConfig *config)
{
	for (int member = 0; member < CONFIG_NMEMBERS; member++)
	{
		const char *what = key_config_member_name(member);

		if (config->nulls[member])
			continue;
		if (key_config_member_type(member) == TEXTOID)
			own_key_add_words(texts, what, DatumGetTextPP(config->values[member]));
		else if (key_config_member_type(member) == JSONBOID)
			add_jsonb(texts, what, DatumGetJsonbP(config->values[member]));
	}
}

static int
compare_digests(const void *a, const void *b)
{
	return memcmp(((const Digest *) a)->hash, ((const Digest *) b)->hash, KEY_HASH_LEN);
}

/*
 * Raises 22023 if the key with this hash is among the texts, under any secret.
 * They may be compared with many hashes.
 */
void
own_key_check(OwnKeyTexts *texts, const bytea *hash)
{
	const Digest *found;

	Assert(VARSIZE_ANY_EXHDR(hash) == KEY_HASH_LEN);
	if (texts->n == 0)
		return;

	if (!texts->sorted)
		qsort(texts->digests, texts->n, sizeof(Digest), compare_digests);
	texts->sorted = true;
	found = bsearch(VARDATA_ANY(hash), texts->digests, texts->n, sizeof(Digest), compare_digests);
	if (found != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not contain the raw API key", found->what)));
}

/* The same, of one key and its configuration. */
void
own_key_check_config(const bytea *hash, const KeyConfig *config)
{
	OwnKeyTexts *texts = own_key_texts_make();

	own_key_add_config(texts, config);
	own_key_check(texts, hash);
}
