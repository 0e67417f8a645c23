/*-------------------------------------------------------------------------
 *
 * restart.h
 *	  Pending uses and windows survive a clean restart.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_RESTART_H
#define APIKEYS_RESTART_H

extern void restart_init(void);
extern void restart_forget(void);

#endif							/* APIKEYS_RESTART_H */
