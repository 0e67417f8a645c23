/*-------------------------------------------------------------------------
 *
 * key_format.h
 *	  The text of a raw key, and its masked form.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_KEY_FORMAT_H
#define APIKEYS_MODEL_KEY_FORMAT_H

#define KEY_PREFIX_MAX_LEN	24	/* the part before the random characters */
#define KEY_BODY_LEN		32	/* random characters and checksum */
#define KEY_CHECKSUM_LEN	5
#define RAW_KEY_MAX_LEN		(KEY_PREFIX_MAX_LEN + KEY_BODY_LEN)

/*
 * "gw-a...wxyz".  Masked forms are shorter than raw keys, so that a raw key is
 * never accepted as a masked one.
 */
#define MASKED_KEY_TAIL_LEN (1 + 3 + 4)
#define MASKED_KEY_MAX_LEN	(KEY_PREFIX_MAX_LEN + MASKED_KEY_TAIL_LEN)

extern bool key_format_prefix_is_valid(const char *prefix);
extern bool key_format_is_checksum(const char *checksum, uint32 crc);
extern text *key_format_compose(const char *prefix);
extern char *key_format_mask(const text *raw_key);
extern char *key_format_masked_prefix(const char *masked);

#endif							/* APIKEYS_MODEL_KEY_FORMAT_H */
