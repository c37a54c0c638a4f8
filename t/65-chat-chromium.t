use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Chromium;
use EV;
use EV::Websockets;
use IO::Handle;
use POSIX ();
use Run;

# eg/chat_server.pl and its page: two tabs of a browser talk to each other. The
# browser does what its own WebSocket, the DevTools protocol, is told.

plan skip_all => 'Chromium is not installed' if !Chromium::find();
plan skip_all => 'JSON::PP is not installed' if !eval { require JSON::PP; 1 };

# ---- the server, as it is started from a shell ----

my ($browser, $server, $printed, $reader);
END {
    undef $browser;
    local $?;
    kill TERM => $server if $server;
}

# Starts it, and returns its URL.
sub start_server {
    my ($port) = @_;
    pipe my $out, my $in or die "pipe: $!";
    $server = fork;
    defined $server or die "fork: $!";
    if (!$server) {
        open STDOUT, '>&', $in;
        { no warnings 'exec'; exec $^X, (map { "-I$_" } grep { !ref } @INC), "$Bin/../eg/chat_server.pl", '--port', $port }
        POSIX::_exit(127);
    }
    close $in;
    $out->blocking(0);
    $printed = '';
    $reader = EV::io($out, EV::READ(), sub { sysread $out, $printed, 4096, length $printed or undef $reader });
    run_until(sub { $printed =~ m{http://localhost:\d+/} }, 'the server says where it is');
    return $printed =~ m{(http://localhost:\d+/)} ? $1 : die 'no server';
}
my $url = start_server(0);

# ---- the browser ----

my $context = EV::Websockets::Context->new(proxy => '');
my ($devtools, %answer);
my $serial = 0;

sub start_browser {
    $browser = Chromium->start('about:blank');
    my $address;
    # Starting takes it a while on a busy machine.
    for my $try (1 .. 3) {
        last if wait_until(sub { ($address) = $browser->said =~ m{DevTools listening on (ws://\S+)} });
    }
    ok($address, 'the browser is there') or $browser->show_log;
    my ($open, $failed);
    $devtools = $context->connect(
        url        => $address,
        on_connect => sub { $open = 1 },
        on_error   => sub { $failed = $_[1] },
        on_message => sub { my $said = JSON::PP::decode_json($_[1]); $answer{ $said->{id} } = $said if $said->{id} },
    );
    run_until(sub { $open || $failed }, 'and listens to us');
    is($failed, undef, 'without an error');
    return;
}

# Calls a method of the protocol, for a tab or the browser itself: the result.
sub call {
    my ($tab, $method, %parameters) = @_;
    my $id = ++$serial;
    $devtools->send(JSON::PP::encode_json({ id => $id, method => $method, params => \%parameters,
        defined $tab ? (sessionId => $tab) : () }));
    wait_until(sub { $answer{$id} }) or die "$method: no answer\n";
    my $said = delete $answer{$id};
    die "$method: $said->{error}{message}\n" if $said->{error};
    return $said->{result};
}

sub evaluate {
    my ($tab, $script) = @_;
    my $result = call($tab, 'Runtime.evaluate', expression => $script, returnByValue => \1);
    die "$script: $result->{exceptionDetails}{text}\n" if $result->{exceptionDetails};
    return $result->{result}{value};
}

my %target;
sub new_tab {
    my ($where) = @_;
    my $target = call(undef, 'Target.createTarget', url => $where)->{targetId};
    my $tab = call(undef, 'Target.attachToTarget', targetId => $target, flatten => \1)->{sessionId};
    $target{$tab} = $target;
    return $tab;
}

sub shows {
    my ($tab, $line, $name) = @_;
    my $script = '[...document.querySelectorAll("#lines div")].map(row => row.textContent).join("\n")';
    my $text;
    my $seen = wait_until(sub {
        $text = evaluate($tab, "document.getElementById('lines') ? $script : ''");
        return "\n$text\n" =~ /\n\Q$line\E\n/;
    });
    ok($seen, $name) or diag("the page shows:\n$text");
    return;
}

sub type {
    my ($tab, $text) = @_;
    wait_until(sub { evaluate($tab, 'document.querySelector("button") && !document.querySelector("button").disabled') });
    evaluate($tab, 'document.getElementById("text").value = ' . JSON::PP->new->allow_nonref->encode($text)
        . '; document.querySelector("button").click()');
    return;
}

# All that a page shows, by the line.
sub lines_of {
    my ($tab) = @_;
    return split /\n/, evaluate($tab, '[...document.querySelectorAll("#lines div")].map(row => row.textContent).join("\n")');
}

start_browser();
my $ann = new_tab($url);
shows($ann, '* guest1 joined', 'a page is in the chat');
type($ann, '/nick ann');
shows($ann, '* guest1 is now ann', 'it has a name');
my $bob = new_tab($url);
shows($ann, '* guest2 joined', 'the first page sees the second come');
type($bob, '/nick bob');
shows($ann, '* guest2 is now bob', 'and its name');
type($ann, 'hello, bob!');
shows($bob, 'ann: hello, bob!', 'the second page sees what the first says');
type($bob, "hello, ann \x{263A}");
shows($ann, "bob: hello, ann \x{263A}", 'and the first what the second says');
type($ann, '<img src=x onerror=alert(1)>');
shows($bob, 'ann: <img src=x onerror=alert(1)>', 'text is text');
is(evaluate($bob, 'document.querySelectorAll("img").length'), 0, 'and not HTML');
is(evaluate($bob, 'performance.getEntriesByType("navigation")[0].responseStatus'), 200, 'the page came with 200')
    if evaluate($bob, '"responseStatus" in performance.getEntriesByType("navigation")[0]');
call(undef, 'Target.closeTarget', targetId => $target{$bob});
shows($ann, '* bob left', 'the first page sees the second go');

# A page whose network fails, and comes back: it has missed nothing, and sees nothing twice. Its connection fails while
# the other page talks, so that lines are on their way to it.
my $carl = new_tab('about:blank');
call($carl, 'Page.enable');
call($carl, 'Page.addScriptToEvaluateOnNewDocument', source => <<'END');
    window.sockets = [];
    window.offline = false;
    const Real = WebSocket;
    window.WebSocket = class extends Real {
        constructor(url) { super(window.offline ? 'ws://localhost:1/' : url); sockets.push(this); }
    };
END
call($carl, 'Page.navigate', url => $url);
shows($carl, '* guest3 joined', 'a third page comes');
type($carl, '/nick carl');
shows($carl, '* guest3 is now carl', 'and has a name');
type($ann, "number $_") for 1 .. 20;
evaluate($carl, 'offline = true; sockets.at(-1).close()');
type($ann, "number $_") for 21 .. 60;
shows($carl, '(no connection; trying again)', 'its network fails');
type($ann, "number $_") for 61 .. 80;
shows($ann, 'ann: number 80', 'while the talk goes on');
is(scalar(grep { /number (?:6[1-9]|[78].)/ } lines_of($carl)), 0, 'which it does not see');
evaluate($carl, 'offline = false');
shows($carl, '* carl is back', 'it comes back, and is known');
is_deeply([ grep { /number/ } lines_of($carl) ], [ map { "ann: number $_" } 1 .. 80 ],
    'and has got every line once, in order');

# The server fails, and comes back without what was said before: the page says so.
my ($port) = $url =~ /:(\d+)/;
kill KILL => $server;
waitpid $server, 0;
start_server($port);
shows($carl, '* some of what was said meanwhile is not kept any more', 'a new server does not know what a page has missed');
type($ann, 'hello again');
shows($carl, 'ann: hello again', 'but the talk goes on, when the others are back, too');

# A page of another site: 127.0.0.1 is not localhost for a browser.
(my $elsewhere = $url) =~ s/localhost/127.0.0.1/;
my $other = new_tab("${elsewhere}nothing");
(my $chat = $url) =~ s/^http/ws/;
wait_until(sub { evaluate($other, 'document.readyState') eq 'complete' });
evaluate($other, "window.seen = []; for (const [name, url] of [['theirs', '$chat'], ['own', location.origin.replace('http', 'ws')]]) {"
    . 'const socket = new WebSocket(url); socket.onopen = () => seen.push(name + " open"); socket.onerror = () => seen.push(name + " refused") }');
my $seen;
run_until(sub { ($seen = evaluate($other, 'seen.sort().join()')) =~ /,/ }, 'pages of two sites ask for the chat');
is($seen, 'own open,theirs refused', 'only that of the same site is let in');

$devtools->close;
finish();
