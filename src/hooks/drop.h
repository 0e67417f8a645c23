/*-------------------------------------------------------------------------
 *
 * drop.h
 *	  A dropped extension or database is forgotten.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_DROP_H
#define APIKEYS_DROP_H

extern void drop_init(void);

#endif							/* APIKEYS_DROP_H */
