/*-------------------------------------------------------------------------
 *
 * object_drop.h
 *	  A dropped extension or database is forgotten.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_HOOKS_OBJECT_DROP_H
#define APIKEYS_HOOKS_OBJECT_DROP_H

extern void object_drop_init(void);

#endif							/* APIKEYS_HOOKS_OBJECT_DROP_H */
