// Time pg-boss's expiry: arguments DSN, rows, width. Run in the folder where it is installed. Prints a JSON object: the
// seconds of its expiry statement (repeated by a thousand rows, as its supervisor does), and the rows that wait then.

import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'

const require = createRequire(join(process.cwd(), 'package.json'))
const dist = join(dirname(dirname(require.resolve('pg-boss'))), 'dist')
const { PgBoss } = await import(pathToFileURL(join(dist, 'index.js')))
const plans = await import(pathToFileURL(join(dist, 'plans.js')))
const pg = (await import(pathToFileURL(require.resolve('pg')))).default

const [dsn, rows, width] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])]
const NAME = 'transcode'

const boss = new PgBoss({ connectionString: dsn, supervise: false, schedule: false })
boss.on('error', error => { console.error(error); process.exit(1) })
await boss.start()
if (!(await boss.getQueue(NAME))) await boss.createQueue(NAME, { retryLimit: 2, expireInSeconds: 60 })
const { table } = await boss.getQueue(NAME)
const client = new pg.Client({ connectionString: dsn })
await client.connect()

const one = async sql => (await client.query(sql)).rows[0]
async function put (count, pad) {
  await client.query(`TRUNCATE pgboss.${table} CASCADE`)
  await client.query(`
    INSERT INTO pgboss.${table} (name, data, state, retry_limit, expire_seconds, started_on)
    SELECT '${NAME}', jsonb_build_object('video_id', i, 'pad', repeat('x', ${pad})), 'active', 2, 60, now() - interval '1 hour'
    FROM generate_series(1, ${count}) i`)
  return (await one(`SELECT avg(pg_column_size(j.*))::int AS width FROM pgboss.${table} j`)).width
}
const waiting = async () =>
  Number((await one(`SELECT count(*) AS n FROM pgboss.${table} WHERE state = 'retry'`)).n)

const pad = Math.max(0, width - await put(1, 0))
await put(rows, pad)
await client.query(`VACUUM (ANALYZE) pgboss.${table}`)
const began = performance.now()
for (let picked = plans.EXPIRY_BATCH_SIZE; picked >= plans.EXPIRY_BATCH_SIZE;) {
  const answers = await client.query(plans.failJobsByTimeout('pgboss', table, [NAME], false))
  const found = [answers].flat().flatMap(answer => answer.rows ?? []).find(row => row.expiryPicked !== undefined)
  picked = Number(found.expiryPicked)
}
const seconds = (performance.now() - began) / 1000

console.log(JSON.stringify({ seconds, rows: await waiting() }))
await client.end()
await boss.stop({ graceful: false })
process.exit(0)
