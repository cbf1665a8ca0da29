/** Values that the chart is rendered with: one golden file each, `chart/NAME.yaml`. */
export const CHART_CASES: Readonly<Record<string, readonly string[]>> = {
  template: [],
  'template-revision': [
    ...set(
      'revision=1-31-0',
      'injection.template.isDefault=false',
      'metrics.scrape=direct',
      'startup.waitFor=answering',
    ),
    ...set('image.repository=registry.example/byname', 'image.pullSecrets={registry}'),
    ...set('istio.clusterName=east', 'istio.network=n1'),
  ],
  'template-settings': [
    ...set('config.cache.maxBytes=16777216', 'config.mesh.ttlSeconds=10', 'env.NODE_EXTRA=a "b" $c'),
    ...set('config.upstream.servers={10.0.0.1,10.0.0.2:5353}', 'config.cache.prefetch=false'),
    ...set('resources.limits.cpu=1', 'metrics.scrape=none', 'metrics.port=9353'),
    '--set-json',
    'config.upstream.routes=[{"domains":["corp.example"],"servers":["10.0.0.53"]}]',
  ],
  policy: set('injection.mode=policy'),
  'policy-revision': [
    ...set('injection.mode=policy', 'revision=1-31-0', 'revisionTags={prod,canary}', 'metrics.scrape=none'),
    ...set('fullnameOverride=byname-1-31-0', 'injection.policy.failurePolicy=Ignore'),
    ...set('image.pullSecrets={registry,other}', 'config.cache.maxBytes=0'),
  ],
  none: set('injection.mode=none', 'revision=canary'),
  node: set('mode=node'),
  'node-pod-network': [
    ...set(
      'mode=node',
      'node.hostNetwork=false',
      'node.clusterIP=10.96.0.53',
      'node.maxUnavailable=10%',
      'revision=canary',
    ),
    ...set('image.pullSecrets={registry}', 'istio.network=n1'),
    ...set('image.digest=sha256:0000000000000000000000000000000000000000000000000000000000000000'),
  ],
  'node-link-local': [
    ...set('mode=node', 'node.linkLocalAddress=169.254.20.53', 'node.addressImage=registry.example/iproute2:6'),
    ...set('node.discoveryAddress=10.0.0.1:15012', 'node.automaticVips=true', 'config.mesh.ttlSeconds=5'),
  ],
  observability: set(
    'metrics.scrape=direct',
    'podMonitor.enabled=true',
    'podMonitor.labels.release=prometheus',
    'injection.mode=none',
  ),
  'node-observability': set('mode=node', 'podMonitor.enabled=true', 'podMonitor.interval=1m'),
}

function set(...values: string[]): string[] {
  return values.flatMap((value) => ['--set', value])
}
