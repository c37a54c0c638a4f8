use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use EV;
use EV::Websockets;
use File::Temp qw(tempdir);
use Interop qw(await);
use Interop::Deflate qw(settings setting_name with_our_server);
use Interop::Talk;
use POSIX ();
use RawServer;
use Run;

# permessage-deflate with a browser: a page, served from here, opens WebSockets
# to our server. Browsers offer the extension by themselves.

my ($chromium) = grep { -x } map { my $name = $_; map { "$_/$name" } split /:/, $ENV{PATH} || '' }
    qw(chromium chromium-browser google-chrome);
plan skip_all => 'Chromium is not installed' if !$chromium;

my $page = do { open my $in, '<:raw', "$Bin/peers/deflate.html" or die "deflate.html: $!\n"; local $/; <$in> };
my $http = RawServer->new(answer => sub {
    my ($peer, $head) = @_;
    my ($status, $body) = $head =~ m{\AGET /page\?} ? ('200 OK', $page) : ('404 Not Found', '');
    $peer->put("HTTP/1.1 $status\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: "
        . length($body) . "\r\n\r\n$body")->finish_writing;
});

# In a process group of its own: a browser is many processes.
my %browser;
sub browse {
    my ($url) = @_;
    my $profile = tempdir(CLEANUP => 1);
    my $pid = fork;
    defined $pid or die "fork: $!\n";
    if (!$pid) {
        POSIX::setpgid(0, 0);
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', "$profile/log";
        open STDERR, '>&', \*STDOUT;
        # It is to find no proxy and no display, whatever there is.
        delete @ENV{ grep { /_proxy\z/i } keys %ENV };
        { no warnings 'exec'; exec { $chromium } $chromium, qw(--headless --no-sandbox --disable-gpu --disable-quic
            --no-first-run --disable-background-networking --disable-component-update --disable-sync
            --disable-dev-shm-usage --disable-extensions --remote-debugging-port=0), "--user-data-dir=$profile", $url }
        POSIX::_exit(127);
    }
    %browser = (pid => $pid, log => "$profile/log");
    return;
}

sub end_browser {
    return if !$browser{pid};
    local ($?, $!);
    kill 'TERM', -$browser{pid};
    my $over = 0;
    my $timer = EV::timer(10, 0, sub { kill 'KILL', -$browser{pid}; });
    my $child = EV::child($browser{pid}, 0, sub { $over = 1 });
    wait_until(sub { $over });
    kill 'KILL', -$browser{pid};
    delete $browser{pid};
    return;
}
END { end_browser() }

sub shown_log {
    open my $log, '<', $browser{log} or return;
    my @lines = <$log>;
    diag @lines > 15 ? @lines[ -15 .. -1 ] : @lines;
    return;
}

sub visit {
    my @urls = @_;
    browse('http://127.0.0.1:' . $http->port . '/page?' . join '&', map { "url=$_" } @urls);
    # Starting takes it a while on a busy machine.
    my $there = 0;
    for my $try (1 .. 3) {
        $there ||= wait_until(sub { grep { defined $_->head } $http->peers });
    }
    ok($there, 'the browser loads the page') or shown_log();
    return;
}

# It cannot be asked for anything, but it says that its window can be smaller.
my @settings = settings();
with_our_server(
    'Chromium', \&visit,
    [ 'defaults', 1, { server_no_context_takeover => 1, client_no_context_takeover => 1 }, 1 ],
    map { [ 'we ask for ' . setting_name($_), $_, $_, 1 ] } @settings,
);
end_browser();

# Messages of the page's own, compressed and not.
my $context = EV::Websockets::Context->new;
my @deflate = (1, { server_no_context_takeover => 0, client_no_context_takeover => 0 }, 0);
my @listeners = map { Interop::Talk::Listener->new($context, deflate => $_) } @deflate;
visit(map { "ws://127.0.0.1:$_->{port}/" } @listeners);
for my $deflate (@deflate) {
    my $talk = (shift @listeners)->accept;
    my $name = 'messages of the page, deflate ' . (ref $deflate ? 'with takeover' : $deflate);
    like($talk->header('Sec-WebSocket-Extensions'), qr/permessage-deflate; client_max_window_bits/, "$name: it offers");
    my $extensions = $talk->{conn}->extensions;
    is(($talk->next_message)[0], 'extensions=' . (defined $extensions ? $extensions : ''), "$name: both see the same");
    is(defined $extensions ? 1 : 0, $deflate ? 1 : 0, "$name: compressed or not");
    $talk->{conn}->send('!own');
    while (1) {
        my ($bytes, $is_binary) = $talk->next_message;
        if ($bytes =~ /\Aown=(.*)/s) {
            is($1, '10 sent, 0 wrong ', "$name: came back as they were");
            last;
        }
        $is_binary ? $talk->{conn}->send_binary($bytes) : $talk->{conn}->send($bytes);
    }
    $talk->{conn}->close(1000);
    $talk->next_close;
    is($talk->{error}, undef, "$name: without an error");
}
end_browser();

finish;
