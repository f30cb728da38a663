"""The word lists that the world is grown from (see `world.py`); pure data, in the order the generator draws from."""

# ruff: noqa: E501  (word lists, many to a line)
# fmt: off
from __future__ import annotations


def _words(text: str) -> list[str]:
    return text.split()


NAME_STARTS = _words("Be Bri Ca Da Fe Fi Ga Ha Jo Ka Ke La Le Lo Ma Mi Na Ne No Ola Pe Ra Ro Sa Se So Ta Te To U Va Ve Wi Ya Zo")
NAME_MIDDLES = _words("b d dr l l ll m m n n nn r r rr s ss t th v v z")
SHE_ENDS = _words("a a a ia ea ina ella etta ie ira")
HE_ENDS = _words("en in o on ard ek us an or im")
PET_NAMES = _words("Button Pepper Socks Biscuit Shadow Clover Pip Muffin Rusty Snow Ginger Bramble Dot Comet Pickle Acorn")

TOWN_STARTS = _words("Ash Bell Birch Cold Corn Dew Dun East Elm Fern Fox Glen Gold Hare Hill Kings Lark Lun Marl Moss North Oak Old Otter Pen Quill Raven Red Rose Sand Silver Stone Swan Thorn West White Wind Wolf Wren Yew")
TOWN_ENDS = _words("bridge brook bury dale field ford gate haven ham mere mill port stead ton vale wick wood worth")
REGIONS = ["the Amber Coast", "the Green Hills", "the Low Marsh", "the Pine Mountains", "the Silver Plain", "the Windy Islands"]
RIVERS = ["Osk", "Tamble", "Virr", "Lenna", "Dunwater", "Moor", "Brindle", "Sef", "Alder", "Nim"]
LANDMARKS = ["an old stone bridge", "a tall clock tower", "a round market hall", "a white lighthouse", "a wooden windmill",
             "a small castle", "a long harbour wall", "a great oak tree", "a library with a green roof", "a statue of a horse"]
FAME = ["cheese", "apples", "honey", "glass bells", "wool", "boats", "salt", "pottery", "music", "roses", "clocks", "bread",
        "carpets", "horses", "silver spoons", "paper", "candles", "fish soup", "kites", "tea", "leather shoes", "plums",
        "wooden toys", "hot springs", "mushrooms", "blue paint", "drums", "lace", "walnuts", "cider", "poets", "snow festivals",
        "bicycles", "maps", "pumpkins", "singing birds", "umbrellas", "chess players", "lanterns", "pies"]

JOBS = ["baker", "teacher", "farmer", "sailor", "painter", "doctor", "tailor", "miller", "gardener", "potter", "weaver",
        "carpenter", "fisher", "singer", "cook", "writer", "nurse", "smith", "builder", "driver", "shepherd", "librarian",
        "clockmaker", "beekeeper", "dancer", "judge", "miner", "shopkeeper", "glassblower", "musician"]
PETS = ["cat", "dog", "rabbit", "parrot", "turtle", "goat", "hamster", "duck", "pony", "hen", "owl", "hedgehog", "lizard",
        "mouse", "donkey", "goose"]
FOODS = ["apple pie", "bean soup", "carrot cake", "cheese toast", "cherry jam", "corn bread", "fish stew", "fried eggs",
         "garlic noodles", "grilled trout", "honey cake", "lemon tart", "lentil soup", "mushroom pie", "nut bread",
         "onion soup", "orange jelly", "pancakes", "pear salad", "pea soup", "plum cake", "potato salad", "pumpkin stew",
         "rice pudding", "roast chicken", "spinach pie", "strawberry tart", "tomato soup", "vegetable curry", "waffles"]
COLOURS = ["red", "blue", "green", "yellow", "purple", "orange", "white", "black", "brown", "grey", "pink", "silver"]
HOBBIES = ["playing chess", "swimming in the river", "painting pictures", "reading old books", "singing songs", "flying kites",
           "growing flowers", "climbing hills", "collecting stamps", "building model boats", "baking bread", "telling jokes",
           "watching birds", "playing the flute", "riding a bicycle", "knitting scarves", "looking at stars", "fishing at dawn",
           "dancing in the hall", "writing letters"]
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"]

_METAL = ("copper", "iron", "brass", "silver", "tin")
_WOOD = ("oak", "pine", "beech", "walnut wood")
_CLOTH = ("wool", "cotton", "linen", "silk")
_CLAY = ("clay", "stone", "china")
_SKIN = ("leather", "felt")
THINGS: list[tuple[str, tuple[str, ...], str]] = [
    ("lamp", _METAL, "give light in the evening"), ("kettle", _METAL, "boil water"), ("spoon", _METAL, "stir soup"),
    ("bell", _METAL, "call people to dinner"), ("key", _METAL, "open a door"), ("pan", _METAL, "fry eggs"),
    ("needle", _METAL, "sew clothes"), ("hammer", _METAL, "drive nails"), ("shovel", _METAL, "dig holes"),
    ("bucket", _METAL, "carry water"), ("ring", _METAL, "wear on a finger"), ("clock", _METAL, "tell the time"),
    ("whistle", _METAL, "call the dog"), ("anchor", _METAL, "hold a ship in place"), ("mirror", _METAL, "look at a face"),
    ("chair", _WOOD, "sit at the table"), ("table", _WOOD, "eat dinner at"), ("ladder", _WOOD, "climb up to the roof"),
    ("broom", _WOOD, "sweep the floor"), ("shelf", _WOOD, "hold books"), ("flute", _WOOD, "play music"),
    ("boat", _WOOD, "cross the river"), ("chest", _WOOD, "store blankets"), ("drum", _WOOD, "beat a rhythm"),
    ("wheel", _WOOD, "move a cart"), ("kite", ("paper", "silk"), "fly in the wind"), ("desk", _WOOD, "write letters at"),
    ("basket", ("willow", "straw"), "carry apples"), ("violin", _WOOD, "play at dances"), ("comb", _WOOD, "tidy hair"),
    ("coat", _CLOTH, "stay warm in winter"), ("scarf", _CLOTH, "keep the neck warm"), ("blanket", _CLOTH, "sleep under"),
    ("curtain", _CLOTH, "cover a window"), ("sail", _CLOTH, "catch the wind"), ("tent", _CLOTH, "sleep in the forest"),
    ("shirt", _CLOTH, "wear to work"), ("pillow", _CLOTH, "rest the head"), ("carpet", _CLOTH, "cover the floor"),
    ("cup", _CLAY, "drink tea"), ("plate", _CLAY, "serve food"), ("vase", _CLAY, "hold flowers"), ("bowl", _CLAY, "eat soup from"),
    ("jug", _CLAY, "pour milk"), ("pot", _CLAY, "cook stew"), ("tile", _CLAY, "cover a roof"), ("teapot", _CLAY, "make tea"),
    ("hat", _SKIN, "keep the sun off"), ("belt", _SKIN, "hold up trousers"), ("boot", _SKIN, "walk through mud"),
    ("bag", _SKIN, "carry books"), ("saddle", _SKIN, "ride a horse"), ("glove", _SKIN, "keep the hands warm"),
    ("book", ("paper",), "read at night"), ("map", ("paper",), "find the way"), ("lantern", ("glass", "tin"), "walk in the dark"),
    ("bottle", ("glass",), "keep juice"), ("window", ("glass",), "let the light in"), ("candle", ("wax",), "light a room"),
    ("rope", ("hemp",), "tie a boat"),
]
CLEANING = {
    "copper": "lemon and salt", "iron": "sand and oil", "brass": "vinegar", "silver": "a soft cloth", "tin": "hot water",
    "oak": "wax", "pine": "soap", "beech": "warm water", "walnut wood": "oil", "wool": "cold water", "cotton": "hot soapy water",
    "linen": "lemon juice", "silk": "cool soapy water", "clay": "a wet sponge", "stone": "a hard brush", "china": "warm soapy water",
    "leather": "beeswax", "felt": "a dry brush", "paper": "a feather", "willow": "a damp cloth", "straw": "a small broom",
    "glass": "vinegar and water", "wax": "a warm cloth", "hemp": "sea water",
}

NOUNS = _words("cat dog bird fish horse cow sheep man woman child king queen baker farmer friend house door window table chair "
         "bread apple milk water fire tree flower river sea hill forest road town boat book letter song lamp cup hat moon "
         "sun star rain snow wind day night stone garden bridge bell knife egg cheese soup")
VERBS = _words("sees loves eats drinks finds takes gives makes buys sells sings sleeps walks runs swims reads writes opens closes "
         "holds hears carries paints cleans follows helps brings keeps wants cooks waits falls")
ADJECTIVES = _words("red blue green white black big small old new good bad happy sad warm cold fast slow tall quiet loud clean "
              "bright heavy soft sweet hungry brave kind")
SMALL_WORDS = _words("the this my your and in on under near with from to every one two three four five not never always today "
               "here there very")

RHYMES = ["cake lake snake rake", "cat hat mat bat", "tree bee sea key", "light night kite bite", "moon spoon tune noon",
          "bell shell well smell", "boat coat goat note", "rain train grain plane", "house mouse", "star car jar far",
          "ring king string wing", "book cook hook brook", "stone bone phone throne", "hill mill pill till", "day clay tray hay",
          "dog frog log fog", "ball wall hall tall", "bed bread red thread", "rose nose hose toes", "sand hand land band",
          "snow bow row crow", "fish dish wish", "clock rock sock lock", "flour hour tower flower", "bear pear chair hair"]
EXTRA_WORDS = _words("animal basket bottle bridge butter button castle circle cloud corner dinner dragon earth evening family farm "
               "feather finger forest garden ginger grass hammer harbour island jacket ladder lemon letter market meadow "
               "melon mirror money morning mountain music needle number onion orange paper pepper picture planet pocket "
               "potato puzzle rabbit ribbon river rocket sailor salad school shadow silver sister summer table teacher "
               "thunder ticket tiger tomato tunnel turtle valley village violin water weather window winter wizard yellow")
