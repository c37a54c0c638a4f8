use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Certificates;
use EV;
use EV::Websockets;
use Events;
use File::Temp ();
use Run;
use RawServer;
use ServerProgram;
use Test::More;

# Behind the real haproxy and nginx: who the client is, by the PROXY protocol in
# both versions, with TLS behind it, and by headers. What the manual has as haproxy's
# configuration is run as well.

my $context = EV::Websockets::Context->new;
my $made    = Certificates->new;
$made->ca('ca');
$made->issue('server', issuer => 'ca');

my %seen;
sub listener {
    my ($name, %o) = @_;
    return $context->listen(
        host => '127.0.0.1', trusted_proxies => ['127.0.0.3'],
        on_connect => sub { my ($c, $headers) = @_; $seen{$name} = [ $c->peer_address, $c->peer_port, $headers ] },
        on_message => sub { $_[0]->send("$name: $_[1]") },
        # A health check connects and goes.
        on_reject  => sub { diag "$name: $_[0]" if $_[0] !~ /\Agone/ },
        %o,
    );
}
my %port = (
    v1      => listener('v1', proxy_protocol => 1),
    v2      => listener('v2', proxy_protocol => 1),
    v2_tls  => listener('v2_tls', proxy_protocol => 1, $made->listen_with('server')),
    headers => listener('headers'),
    fields  => listener('fields'),
);

# The proxies connect from 127.0.0.3, and their clients from 127.0.0.1.
sub passes {
    my ($name, $proxy_port, %o) = @_;
    my $events = Events->new;
    my $conn = $context->connect(
        url => ($o{secure} ? 'wss' : 'ws') . "://127.0.0.1:$proxy_port/",
        ($o{secure} ? (ssl_ca => $made->file('ca.pem')) : ()),
        headers => { 'X-Forwarded-For' => '6.6.6.6' },
        $events->handlers(on_connect => sub { $_[0]->send('hello') }),
    );
    run_until(sub { $events->count('message') || $events->count('error') }, "$name: answered");
    is_deeply [ $events->messages ], ["$o{to}: hello"], "$name: by the server"
        or diag $events->last_of('error') && $events->last_of('error')->[0];
    my $seen = $seen{ $o{to} } || [];
    is $seen->[0], '127.0.0.1', "$name: the address";
    if ($o{ported}) {
        cmp_ok $seen->[1] || 0, '>', 0, "$name: the port";
    }
    $conn->close;
    run_until(sub { $events->count('close') }, "$name: the end");
    return $seen;
}

SKIP: {
    skip 'haproxy is not installed', 1 if !ServerProgram::find('haproxy');
    my %front = map { $_ => RawServer::unused_port() } qw(v1 v2 v2_tls headers);
    my $pem = $made->write('both.pem', map { my $file = $made->file($_); open my $in, '<', $file or die $file; <$in> }
        'server.pem', 'server.key');
    my $haproxy = ServerProgram->configured(sub {
        my ($port) = @_;
        my $ca = $made->file('ca.pem');
        return <<"END";
defaults
    mode tcp
    timeout connect 10s
    timeout client 1m
    timeout server 1m
listen up
    mode http
    bind 127.0.0.1:$port
listen v1
    bind 127.0.0.1:$front{v1}
    server one 127.0.0.1:$port{v1} source 127.0.0.3 send-proxy
listen v2
    bind 127.0.0.1:$front{v2}
    server one 127.0.0.1:$port{v2} source 127.0.0.3 send-proxy-v2 proxy-v2-options unique-id,crc32c check inter 100
listen v2_tls
    bind 127.0.0.1:$front{v2_tls}
    server one 127.0.0.1:$port{v2_tls} source 127.0.0.3 send-proxy-v2
frontend web
    mode http
    bind 127.0.0.1:$front{headers}
    option forwardfor
    timeout tunnel 1h
    default_backend chat
backend chat
    mode http
    server one 127.0.0.1:$port{headers} source 127.0.0.3
END
    }, sub { return (ServerProgram::find('haproxy'), '-db', '-f', $_[0]) });
    ok $haproxy, 'haproxy is up' or last SKIP;
    passes('haproxy, send-proxy',           $front{v1},     to => 'v1', ported => 1);
    passes('haproxy, send-proxy-v2',        $front{v2},     to => 'v2', ported => 1);
    passes('haproxy, TLS behind the head',  $front{v2_tls}, to => 'v2_tls', ported => 1, secure => 1);
    my $seen = passes('haproxy, option forwardfor', $front{headers}, to => 'headers');
    is $seen->[2]{'X-Forwarded-For'}, '6.6.6.6, 127.0.0.1', 'haproxy has added the client to what it sent itself';
    $haproxy->terminate;

    # The two that are in the manual, at other ports and addresses.
    open my $in, '<', "$Bin/../lib/EV/Websockets/Proxies.pod" or die "Proxies.pod: $!";
    my ($section) = do { local $/; <$in> } =~ /^=head1 HAPROXY\n(.*?)^=head1/ms;
    my @manual = $section =~ /^(    defaults\n(?:    .*\n)+)/mg;
    is scalar @manual, 2, 'the manual has two configurations';
    for my $case ([ 'passed on', 'v2_tls', 1 ], [ 'with TLS at haproxy', 'headers', 0 ]) {
        my ($name, $to, $ported) = @$case;
        my $text = shift @manual;
        my $run = ServerProgram->configured(sub {
            my ($port) = @_;
            (my $changed = $text) =~ s/bind :443/bind 127.0.0.1:$port/;
            $changed =~ s/both\.pem/$pem/;
            $changed =~ s/127\.0\.0\.1:8080/127.0.0.1:$port{$to} source 127.0.0.3/;
            return $changed;
        }, sub { return (ServerProgram::find('haproxy'), '-db', '-f', $_[0]) });
        ok $run, "the manual, $name: haproxy is up" or next;
        delete $seen{$to};
        passes("the manual, $name", $run->port, to => $to, secure => 1, ported => $ported);
        $run->terminate;
    }
}

SKIP: {
    my $nginx = ServerProgram::find('nginx');
    skip 'nginx is not installed', 1 if !$nginx;
    my $dir = File::Temp->newdir;
    my @paths = map { "${_}_temp_path $dir/$_;\n" } qw(client_body proxy fastcgi uwsgi scgi);
    my ($module) = grep { -e } '/usr/lib/nginx/modules/ngx_stream_module.so';
    my $stream_port = RawServer::unused_port();
    my $stream = $module ? "stream {\nserver { listen 127.0.0.1:$stream_port; proxy_protocol on; proxy_bind 127.0.0.3; "
        . "proxy_pass 127.0.0.1:$port{v1}; }\n}\n" : '';
    my $server = ServerProgram->configured(sub {
        my ($port) = @_;
        return ($module ? "load_module $module;\n" : ''),
            "daemon off;\nmaster_process off;\npid $dir/nginx.pid;\nerror_log stderr;\nevents { }\nhttp {\naccess_log off;\n",
            @paths, <<"END", $stream;
server {
    listen 127.0.0.1:$port;
    location / {
        proxy_bind 127.0.0.3;
        proxy_pass http://127.0.0.1:$port{fields};
        proxy_http_version 1.1;
        proxy_set_header Upgrade \$http_upgrade;
        proxy_set_header Connection "upgrade";
        proxy_set_header X-Forwarded-For \$proxy_add_x_forwarded_for;
    }
}
}
END
    }, sub { return ($nginx, '-p', "$dir", '-e', 'stderr', '-c', $_[0]) });
    ok $server, 'nginx is up' or last SKIP;
    my $seen = passes('nginx, X-Forwarded-For', $server->port, to => 'fields');
    is $seen->[2]{'X-Forwarded-For'}, '6.6.6.6, 127.0.0.1', 'nginx has added the client to what it sent itself';
    if ($module) {
        delete $seen{v1};
        passes('nginx, proxy_protocol on', $stream_port, to => 'v1', ported => 1);
    }
    $server->terminate;
}

finish();
