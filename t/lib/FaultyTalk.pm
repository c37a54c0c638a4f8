package FaultyTalk;

# A program that talks to itself while its system calls fail: clients of every kind send numbered messages, which
# come back. It knows what each end has to get, and prints at the end what came of it, as "name number" lines; what
# must never be, as "wrong: TEXT".
#
#     perl -MFaultyTalk -e 'FaultyTalk::run(\@ARGV)' CONNECTIONS MESSAGES FOLDER
#
# CONNECTIONS of each kind. FOLDER is for the Unix socket; with cert.pem and key.pem in it, there is TLS, too.

use strict;
use warnings;
use EV;
use EV::Websockets;
use IO::Socket::INET;

my $PATIENCE = 8;      # seconds without progress
my $AHEAD    = 4;       # messages of a client that are under way

# From nothing but its number to far more than one read.
my @SIZES = (0, 1, 125, 126, 1000, 4096, 16_384, 65_535, 65_536, 150_000);

my %count = map { $_ => 0 } qw(messages echoes whole broken refused croaked accepted);

sub wrong { print "wrong: $_[0]\n"; return }

sub payload {
    my ($number) = @_;
    my $size = $SIZES[ $number % @SIZES ];
    return "$number:" . substr(join(' ', $number .. $number + 20) x (1 + $size / 40), 0, $size);
}

sub descriptors {
    opendir my $dir, '/proc/self/fd' or die "/proc/self/fd: $!";
    return scalar grep { /^\d+$/ } readdir $dir;
}

# What may fail with a croak is tried again, as a program would.
sub patiently {
    my ($what, $code) = @_;
    for (1 .. 200) {
        my $result = eval { $code->() };
        return $result if defined $result;
        $count{croaked}++;
        wrong("$what: $@") if $@ !~ /(?:failed|cannot|could not|: )/;
    }
    return;
}

sub server {
    my ($context, $over, %options) = @_;
    return patiently('listen', sub {
        $context->listen(
            %options,
            on_connect => sub { $_[0]->stash->{next} = 0; $count{accepted}++; ${$over}++ },
            on_message => sub {
                my ($conn, $message) = @_;
                my $number = $conn->stash->{next}++;
                $message eq payload($number) or wrong("server: message $number is another");
                $count{messages}++;
                $conn->send($message);
            },
            on_close => sub { ${$over}-- },
        );
    });
}

sub client {
    my ($context, $total, $left, %options) = @_;
    my ($sent, $got, $is_open) = (0, 0, 0);
    my $more = sub {
        my ($conn) = @_;
        $conn->send(payload($sent++)) while $conn->state eq 'connected' && $sent < $total && $sent < $got + $AHEAD;
    };
    my $began = eval {
        $context->connect(
            connect_timeout => 20,
            %options,
            on_connect => sub { $is_open = 1; $more->($_[0]) },
            on_message => sub {
                my ($conn, $message) = @_;
                $message eq payload($got) or wrong("client: message $got is another");
                $got < $sent or wrong("client: message $got was not sent");
                $got++;
                $count{echoes}++;
                $got == $total ? $conn->close(1000) : $more->($conn);
            },
            on_error => sub { return if $is_open; $count{refused}++; ${$left}-- },
            on_close => sub {
                my ($conn, $code) = @_;
                $is_open or wrong('client: on_close without on_connect');
                $got == $total ? $count{whole}++ : $count{broken}++;
                $got == $total || $code != 1000 or wrong("client: closed with 1000 after $got of $total messages");
                ${$left}--;
            },
        );
    };
    return if $began;
    $count{croaked}++;
    ${$left}--;
    return;
}

sub run {
    my ($each, $total, $folder) = @{ $_[0] };
    local $SIG{__WARN__} = sub { wrong("warning: $_[0]") };
    my $before = descriptors();
    talk($each, $total, $folder);
    # Nothing is open any more, so nothing keeps the loop.
    my $late;
    my $guard = EV::timer($PATIENCE, 0, sub { $late = 1; EV::break });
    $guard->keepalive(0);
    EV::run;
    wrong('something keeps the loop') if $late;
    my $after = descriptors();
    wrong("$after descriptors in place of $before") if $after != $before;
    my @times = times;
    $count{turns}   = EV::iteration();
    $count{seconds} = $times[0] + $times[1];
    print map { "$_ $count{$_}\n" } sort keys %count;
    return;
}

sub talk {
    my ($each, $total, $folder) = @_;
    my $has_tls = -e "$folder/cert.pem";
    my $context = patiently('new', sub { EV::Websockets::Context->new(proxy => '', $has_tls ? (ssl_ca => "$folder/cert.pem") : ()) })
        or return;
    my $over = 0;
    my @urls;
    my $port = server($context, \$over, deflate => 1);
    push @urls, [url => "ws://127.0.0.1:$port/", deflate => 0], [url => "ws://127.0.0.1:$port/", deflate => 1] if $port;
    defined server($context, \$over, path => "$folder/socket") and push @urls, [url => "ws+unix:$folder/socket:/"];
    if ($has_tls) {
        my $port = server($context, \$over, ssl_cert => "$folder/cert.pem", ssl_key => "$folder/key.pem");
        # By name: this one goes through the resolver's thread.
        push @urls, [url => "wss://localhost:$port/"] if $port;
    }
    my $left = $each * @urls;
    for my $url (@urls) {
        client($context, $total, \$left, @$url) for 1 .. $each;
    }
    my ($late, $progress) = (0, '');
    my $watch = EV::timer($PATIENCE, $PATIENCE, sub {
        my $now = join ' ', map { $count{$_} } sort keys %count;
        $late = 1 if $now eq $progress;
        $progress = $now;
    });
    EV::run(EV::RUN_ONCE) while ($left || $over) && !$late;
    wrong("a standstill: $left clients and $over connections of servers wait") if $late;
    return;
}

# A listener that is stopped while $clients wait for it: prints how many of them were served all the same.
sub stop {
    my ($clients) = @_;
    my $context = EV::Websockets::Context->new(proxy => '');
    my ($served, $left) = (0, $clients);
    my $port = $context->listen(backlog => 2 * $clients);
    my $one_less = sub { $left-- };
    for (1 .. $clients) {
        $context->connect(
            url        => "ws://127.0.0.1:$port/",
            on_connect => sub { $served++; $_[0]->close },
            on_close   => $one_less,
            on_error   => $one_less,
        );
    }
    $context->stop_listening($port);
    EV::run(EV::RUN_ONCE) while $left;
    print "served $served\n";
    return;
}

# Clients whose server, or proxy, listens and says nothing: prints what each is told.
sub ask {
    my (@ways) = @_;
    my $socket = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die "listen: $!";
    my $silent = '127.0.0.1:' . $socket->sockport;
    my %options = (
        plain  => [url => "ws://$silent/"],
        tls    => [url => "wss://$silent/"],
        http   => [url => 'ws://192.0.2.1/', proxy => "http://$silent"],
        socks5 => [url => 'ws://192.0.2.1/', proxy => "socks5://$silent"],
        name   => [url => 'ws://localhost:' . $socket->sockport . '/'],
    );
    for my $way (@ways) {
        my ($told, %given) = (undef, @{ $options{$way} });
        my $context = EV::Websockets::Context->new(proxy => delete $given{proxy} || '');
        my $conn = $context->connect(
            %given,
            connect_timeout => 3,
            on_error        => sub { $told = $_[1] },
        );
        EV::run(EV::RUN_ONCE) until defined $told;
        print "$way: $told\n";
    }
    return;
}

1;
