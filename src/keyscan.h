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

extern bool keyscan_find(const char *text, Size len, Size from, KeyMatch *match);
extern bool keyscan_mask(char *text, Size len);

#endif							/* APIKEYS_KEYSCAN_H */
