/**
 * As much of a Kubernetes API server as an unmodified istiod needs, on loopback and in memory: lists, watches (streaming lists
 * included), status patches, leases, and TokenReview of tokens that it signs itself.
 */
import { createSign, createVerify, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { parseAllDocuments } from 'yaml'

/** A Kubernetes object, as far as the stub looks at it. */
export interface KubeObject {
  apiVersion: string
  kind: string
  metadata: { name: string; namespace?: string; [key: string]: unknown }
  [key: string]: unknown
}

/** What a token says. */
export interface TokenWanted {
  namespace: string
  serviceAccount: string
  audience?: string
  /** From now on; negative for one that has expired. */
  seconds?: number
}

interface Watcher {
  collection: string
  namespace: string | undefined
  name: string | undefined
  send: (type: string, object: KubeObject) => void
}

/** Kinds that istiod lists, and the resources that they are. */
const RESOURCES: Readonly<Record<string, string>> = {
  Service: 'services',
  Namespace: 'namespaces',
  Pod: 'pods',
  Node: 'nodes',
  ConfigMap: 'configmaps',
  Secret: 'secrets',
  ServiceAccount: 'serviceaccounts',
  EndpointSlice: 'endpointslices',
  ServiceEntry: 'serviceentries',
  WorkloadEntry: 'workloadentries',
  WorkloadGroup: 'workloadgroups',
  Sidecar: 'sidecars',
  Lease: 'leases',
  CustomResourceDefinition: 'customresourcedefinitions',
}
const CLUSTER_WIDE: ReadonlySet<string> = new Set(['Namespace', 'Node', 'CustomResourceDefinition'])
const PATH = /^(\/api\/v1|\/apis\/[^/]+\/[^/]+)(?:\/namespaces\/([^/]+)(?=\/))?\/([^/]+)(?:\/([^/]+))?/

export class ApiStub {
  readonly #server: Server
  readonly #objects: Map<string, KubeObject> = new Map()
  readonly #watchers: Set<Watcher> = new Set()
  readonly #key: { privateKey: KeyObject; publicKey: KeyObject } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  #version = 1
  /** `http://127.0.0.1:PORT`, once started. */
  url = ''

  constructor() {
    this.#server = createServer((request, response) => void this.#answer(request, response))
    for (const resource of ['serviceentries', 'workloadentries', 'workloadgroups', 'sidecars']) {
      const name = `${resource}.networking.istio.io`
      this.put({ apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition', metadata: { name } })
    }
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
    const at = this.#server.address()
    this.url = `http://127.0.0.1:${typeof at === 'object' && at !== null ? at.port : 0}`
  }

  stop(): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }

  /** Adds or replaces all objects in YAML. */
  apply(yaml: string): void {
    for (const document of parseAllDocuments(yaml)) {
      const object = document.toJS() as KubeObject | null
      if (object?.kind !== undefined && RESOURCES[object.kind] !== undefined) this.put(object)
    }
  }

  /** Adds or replaces an object. */
  put(object: KubeObject): void {
    const { metadata } = object
    if (!CLUSTER_WIDE.has(object.kind)) metadata.namespace ??= 'default'
    const key = keyOf(object)
    metadata['uid'] ??= key
    metadata['creationTimestamp'] ??= '2026-01-01T00:00:00Z'
    this.#store(key, object)
  }

  /** Removes an object; one that is not there is no error. */
  remove(kind: string, namespace: string, name: string): void {
    for (const [key, object] of this.#objects)
      if (object.kind === kind && object.metadata.name === name && (object.metadata.namespace ?? '') === namespace)
        this.#delete(key)
  }

  /** Objects of a kind. */
  list(kind: string): KubeObject[] {
    return [...this.#objects.values()].filter((object) => object.kind === kind)
  }

  /** A token that TokenReview takes, or refuses for what it says. */
  token({ namespace, serviceAccount, audience = 'istio-ca', seconds = 3600 }: TokenWanted): string {
    const now = Math.floor(Date.now() / 1000)
    const claims = {
      iss: 'https://kubernetes.default.svc',
      aud: [audience],
      sub: `system:serviceaccount:${namespace}:${serviceAccount}`,
      iat: now,
      exp: now + seconds,
    }
    const signed = `${base64({ alg: 'RS256', typ: 'JWT' })}.${base64(claims)}`
    return `${signed}.${createSign('RSA-SHA256').update(signed).sign(this.#key.privateKey, 'base64url')}`
  }

  #store(key: string, object: KubeObject): void {
    const type = this.#objects.has(key) ? 'MODIFIED' : 'ADDED'
    object.metadata['resourceVersion'] = String(++this.#version)
    this.#objects.set(key, object)
    this.#tell(type, key, object)
  }

  #delete(key: string): void {
    const object = this.#objects.get(key)
    if (object === undefined) return
    this.#objects.delete(key)
    object.metadata['resourceVersion'] = String(++this.#version)
    this.#tell('DELETED', key, object)
  }

  #tell(type: string, key: string, object: KubeObject): void {
    for (const watcher of this.#watchers) {
      const { namespace, name } = object.metadata
      const isMeant =
        watcher.collection === collectionOf(key) &&
        (watcher.namespace === undefined || watcher.namespace === namespace) &&
        (watcher.name === undefined || watcher.name === name)
      if (isMeant) watcher.send(type, object)
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const body = Buffer.concat(chunks).toString('utf8')
    const url = new URL(request.url ?? '/', this.url)
    if (url.pathname === '/version') return send(response, 200, { major: '1', minor: '33', gitVersion: 'v1.33.0' })
    const [whole, base = '', namespace, resource = '', name] = PATH.exec(url.pathname) ?? []
    if (whole === undefined) return fail(response, 404, 'NotFound')
    if (resource === 'tokenreviews') return send(response, 201, this.#review(body))
    const key = [base, resource, namespace ?? '', name ?? ''].join('|')
    const isPartial = (request.headers.accept ?? '').includes('as=PartialObjectMetadata')
    const shaped = (object: KubeObject): unknown =>
      isPartial ? { apiVersion: 'meta.k8s.io/v1', kind: 'PartialObjectMetadata', metadata: object.metadata } : object
    if (request.method === 'GET' && name === undefined) {
      return this.#list(url, { base, resource, namespace, isPartial, shaped }, response)
    }
    if (request.method === 'GET') {
      const object = this.#objects.get(key)
      return object === undefined ? fail(response, 404, 'NotFound') : send(response, 200, shaped(object))
    }
    this.#change(request.method ?? '', { base, resource, namespace, key }, body, response)
  }

  #list(
    url: URL,
    at: {
      base: string
      resource: string
      namespace: string | undefined
      isPartial: boolean
      shaped: (object: KubeObject) => unknown
    },
    response: ServerResponse,
  ): void {
    const { base, resource, namespace, isPartial, shaped } = at
    const collection = `${base}|${resource}`
    const name = /metadata\.name=([^,]+)/.exec(url.searchParams.get('fieldSelector') ?? '')?.[1]
    const items = [...this.#objects].filter(
      ([key, object]) =>
        collectionOf(key) === collection &&
        (namespace === undefined || object.metadata.namespace === namespace) &&
        (name === undefined || object.metadata.name === name),
    )
    const type = isPartial
      ? { apiVersion: 'meta.k8s.io/v1', kind: 'PartialObjectMetadata' }
      : { apiVersion: versionOf(base), kind: kindOf(resource) }
    if (!/^(?:true|1)$/.test(url.searchParams.get('watch') ?? '')) {
      const metadata = { resourceVersion: String(this.#version) }
      return send(response, 200, {
        ...type,
        kind: `${type.kind}List`,
        metadata,
        items: items.map(([, object]) => shaped(object)),
      })
    }
    response.writeHead(200, { 'content-type': 'application/json' })
    response.flushHeaders()
    const write = (event: string, object: unknown): void => {
      response.write(`${JSON.stringify({ type: event, object })}\n`)
    }
    if (url.searchParams.get('sendInitialEvents') === 'true') {
      for (const [, object] of items) write('ADDED', shaped(object))
      const annotations = { 'k8s.io/initial-events-end': 'true' }
      write('BOOKMARK', { ...type, metadata: { resourceVersion: String(this.#version), annotations } })
    }
    const watcher: Watcher = { collection, namespace, name, send: (event, object) => write(event, shaped(object)) }
    this.#watchers.add(watcher)
    response.on('close', () => this.#watchers.delete(watcher))
  }

  #change(
    method: string,
    at: { base: string; resource: string; namespace: string | undefined; key: string },
    body: string,
    response: ServerResponse,
  ): void {
    const { base, resource, namespace, key } = at
    if (method === 'DELETE') {
      this.#delete(key)
      return send(response, 200, { kind: 'Status', status: 'Success' })
    }
    if (method === 'POST' || method === 'PUT') {
      const object = JSON.parse(body) as KubeObject
      object.apiVersion = versionOf(base)
      object.kind ??= kindOf(resource)
      if (namespace !== undefined) object.metadata.namespace = namespace
      const own = keyOf(object)
      if (method === 'POST' && this.#objects.has(own)) return fail(response, 409, 'AlreadyExists')
      object.metadata['uid'] ??= own
      object.metadata['creationTimestamp'] ??= `${new Date().toISOString().slice(0, 19)}Z`
      this.#store(own, object)
      return send(response, method === 'POST' ? 201 : 200, object)
    }
    const known = this.#objects.get(key)
    if (known === undefined) return fail(response, 404, 'NotFound')
    const patched = applyPatch(known, parseAllDocuments(body)[0]!.toJS() as unknown)
    this.#store(key, patched)
    send(response, 200, patched)
  }

  #review(body: string): unknown {
    const review = JSON.parse(body) as { spec: { token: string; audiences?: string[] } }
    const [header = '', payload = '', signature = ''] = review.spec.token.split('.')
    const refused = { ...review, status: { authenticated: false, error: 'token is not accepted' } }
    try {
      const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as {
        aud: string[]
        exp: number
        sub: string
      }
      const isSigned = createVerify('RSA-SHA256')
        .update(`${header}.${payload}`)
        .verify(this.#key.publicKey, signature, 'base64url')
      const isMeant = (review.spec.audiences ?? ['api']).some((each) => claims.aud.includes(each))
      if (!isSigned || !isMeant || claims.exp <= Date.now() / 1000) return refused
      const groups = ['system:serviceaccounts', `system:serviceaccounts:${claims.sub.split(':')[2]}`]
      const user = { username: claims.sub, uid: 'u', groups }
      return { ...review, status: { authenticated: true, audiences: claims.aud, user } }
    } catch {
      return refused
    }
  }
}

/** JSON patches (add, replace, remove of whole branches), else a merge of status, annotations and labels. */
function applyPatch(object: KubeObject, patch: unknown): KubeObject {
  const patched = structuredClone(object)
  if (!Array.isArray(patch)) {
    const { status, metadata } = patch as { status?: object; metadata?: { annotations?: object } }
    if (status !== undefined) patched['status'] = { ...(patched['status'] as object), ...status }
    if (metadata?.annotations !== undefined)
      patched.metadata['annotations'] = { ...(patched.metadata['annotations'] as object), ...metadata.annotations }
    return patched
  }
  for (const { op, path, value } of patch as { op: string; path: string; value: unknown }[]) {
    if (op === 'test') continue
    const steps = path
      .slice(1)
      .split('/')
      .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'))
    let at: Record<string, unknown> = patched
    for (const step of steps.slice(0, -1)) at = (at[step] ??= {}) as Record<string, unknown>
    if (op === 'remove') delete at[steps.at(-1)!]
    else at[steps.at(-1)!] = value
  }
  return patched
}

function keyOf({ apiVersion, kind, metadata }: KubeObject): string {
  const base = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`
  return [base, RESOURCES[kind] ?? kind.toLowerCase(), metadata.namespace ?? '', metadata.name].join('|')
}

function collectionOf(key: string): string {
  return key.split('|').slice(0, 2).join('|')
}

function versionOf(base: string): string {
  return base.replace(/^\/apis?\//, '')
}

function kindOf(resource: string): string {
  const others: Record<string, string> = {
    mutatingwebhookconfigurations: 'MutatingWebhookConfiguration',
    validatingwebhookconfigurations: 'ValidatingWebhookConfiguration',
    ingresses: 'Ingress',
    ingressclasses: 'IngressClass',
  }
  return Object.entries(RESOURCES).find(([, name]) => name === resource)?.[0] ?? others[resource] ?? resource
}

function base64(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

function send(response: ServerResponse, code: number, body: unknown): void {
  response.writeHead(code, { 'content-type': 'application/json' })
  response.end(JSON.stringify(body))
}

function fail(response: ServerResponse, code: number, reason: string): void {
  send(response, code, { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason, message: reason, code })
}
