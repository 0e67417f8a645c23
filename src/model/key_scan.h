/*-------------------------------------------------------------------------
 *
 * key_scan.h
 *	  Finds raw keys in any text.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_KEY_SCAN_H
#define APIKEYS_MODEL_KEY_SCAN_H

/* A key in a text, and which part of it is to be masked. */
typedef struct KeyMatch
{
	Size		key_start;		/* the key; those that overlap with it start later */
	Size		key_end;
	Size		redact_from;
	Size		redact_to;
	Size		end;			/* where to look for the next */
} KeyMatch;

#define KEY_REDACTED_CHAR		'*'
#define KEY_REDACTED_LEN		27	/* all but the first and the last four */
#define KEY_PIECE_LEN		8

extern bool key_scan_find(const char *text, Size len, Size from, KeyMatch *match);
extern bool key_scan_find_in_steps(const char *text, Size len, Size from, KeyMatch *match);
extern void key_scan_redact(char *text, const KeyMatch *match);
extern bool key_scan_mask(char *text, Size len);
extern void key_scan_mask_pieces(char *text, Size len, const char *hidden,
								 Size hidden_len);

#endif							/* APIKEYS_MODEL_KEY_SCAN_H */
