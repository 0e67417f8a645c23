/*-------------------------------------------------------------------------
 *
 * secrets.h
 *	  The HMAC secrets, as this process has read them from their file.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_SECRETS_H
#define APIKEYS_SECRETS_H

#define SECRETS_MAX			16	/* in a file: an unknown text costs as many hashes */
#define SECRET_NAME_MAX_LEN 63
#define SECRET_MIN_LEN		16
#define SECRET_MAX_LEN		255

typedef struct HmacSecret
{
	char		name[SECRET_NAME_MAX_LEN + 1];
	struct						/* laid out as a bytea */
	{
		int32		vl_len_;
		char		data[SECRET_MAX_LEN];
	} value;
} HmacSecret;

#define secrets_value(secret)	((const bytea *) &(secret)->value)

/* for the setting that names the file */
extern const char *secrets_stage(const char *path);
extern void secrets_adopt(void);
extern void secrets_clear(void);

/* for those who hash keys */
extern const HmacSecret *secrets_first(void);
extern int	secrets_count(void);
extern const HmacSecret *secrets_get(int i);
extern uint64 secrets_version(void);
extern bool secrets_are_outdated(void);
extern bool secrets_look_again(const char *path);

#endif							/* APIKEYS_SECRETS_H */
