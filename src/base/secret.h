/*-------------------------------------------------------------------------
 *
 * secret.h
 *	  Memory for raw keys that is wiped before it is given back.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_SECRET_H
#define APIKEYS_SECRET_H

extern void *secret_alloc(Size size);
extern void secret_wipe(void *data);

#endif							/* APIKEYS_SECRET_H */
