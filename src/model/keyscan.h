/*-------------------------------------------------------------------------
 *
 * keyscan.h
 *	  Finds raw keys in any text.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_KEYSCAN_H
#define APIKEYS_KEYSCAN_H

/* A key in a text, and which part of it is not to be seen. */
typedef struct KeyMatch
{
	Size		hide_from;
	Size		hide_to;
	Size		end;			/* where to look for the next */
} KeyMatch;

#define KEY_HIDING_CHAR		'*'
#define KEY_HIDDEN_LEN		27	/* all but the first and the last four */
#define KEY_PIECE_LEN		8

extern bool keyscan_find(const char *text, Size len, Size from, KeyMatch *match);
extern void keyscan_hide(char *text, const KeyMatch *match);
extern bool keyscan_mask(char *text, Size len);
extern void keyscan_mask_pieces(char *text, Size len, const char *hidden,
								Size hidden_len);

#endif							/* APIKEYS_KEYSCAN_H */
