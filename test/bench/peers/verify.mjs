// Verifies per second from Node, through one connection a client.
//
//   node verify.mjs setup                          makes better-auth's key, prints it
//   node verify.mjs CONTENDER KEY CLIENTS SECONDS  better-auth, hit
//
// PGHOST and its like say where the database is.

import { apiKey } from '@better-auth/api-key'
import { betterAuth } from 'better-auth'
import { getMigrations } from 'better-auth/db/migration'
import pg from 'pg'

const [what, key, clients, seconds] = process.argv.slice(2)
const pool = new pg.Pool({ max: Number(clients ?? 1) })
const auth = betterAuth({
  database: pool,
  baseURL: 'http://localhost',
  secret: 'a secret of the benchmark, nobody else has it',
  telemetry: { enabled: false },
  logger: { disabled: true },
  plugins: [apiKey({ rateLimit: { enabled: false } })],
})

async function setup() {
  const { runMigrations } = await getMigrations(auth.options)
  await runMigrations()
  const { internalAdapter } = await auth.$context
  const user = await internalAdapter.createUser({ email: 'bench@example.com', name: 'bench' })
  const made = await auth.api.createApiKey({ body: { name: 'bench', userId: user.id } })
  console.log(made.key)
}

const verify = {
  'better-auth': () => auth.api.verifyApiKey({ body: { key } }),
  hit: async () => {
    const statement = { name: 'verify', text: 'SELECT * FROM apikey_verify($1)', values: [key] }
    return (await pool.query(statement)).rows[0]
  },
}

async function measure() {
  const warm = performance.now() + 300
  const end = warm + seconds * 1000
  let verified = 0
  const client = async () => {
    for (let now; (now = performance.now()) < end;) {
      if (!(await verify[what]()).valid) throw new Error(`${what}: not valid`)
      if (now >= warm) verified++
    }
  }
  await Promise.all(Array.from({ length: clients }, client))
  console.log(verified / seconds)
}

await (what === 'setup' ? setup() : measure())
await pool.end()
